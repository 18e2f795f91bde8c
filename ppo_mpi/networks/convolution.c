/* Convolutions of bfloat16 images that lie channels-last in memory: 3 x 3, stride 1, padding 1.
 *
 * One image at a time, so that what is done before and after a convolution finds it in the cache.
 * Products are summed in float32 by the processor's instruction for pairs of bfloat16 numbers;
 * where it has none, convolution_is_fast says so and nothing else may be called. Numbers come as
 * their 16 bits. N images; H, W size; C channels of x; K channels of y, a multiple of 16.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What becomes of a sum s; a and b are further images of the same shape. */
enum { PLAIN, RELU, ADD, MASK, MASK_ADD }; /* s, max(s, 0), s + a, a > 0 ? s : 0, b + MASK */

#if defined(__x86_64__) && defined(__gnu_linux__) && (__GNUC__ >= 11 || __clang_major__ >= 14)
#include <immintrin.h>

#define FAST __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) FAST
#define UNROLL _Pragma("GCC unroll 32")
#define ONE_BY_ONE _Pragma("GCC unroll 1")
#if !defined(__clang__)
/* It would keep numbers for the next turn of a loop that has no register left for them. */
#pragma GCC optimize("no-predictive-commoning")
#endif

int convolution_is_fast(void) {
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/* Rounded to nearest even. */
INLINE uint16_t narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Bring weights [K, C, 3, 3] float32 with these strides into the order in which convolve takes
 * them: packed [3, pairs, K, 2]. For the way back weights are [C, K, 3, 3] and turned around.
 */
FAST void pack_weights(const float *weights, long to_output, long to_channel, long to_row,
                       long to_column, int outputs, int channels, int turned, uint16_t *packed) {
    const int length = 3 * channels;
    if (turned) weights += 2 * to_row + 2 * to_column;
    if (turned) to_row = -to_row, to_column = -to_column;
    for (int h = 0; h < 3; h++) {
        for (int i = 0; i < length; i += 2) {
            for (int k = 0; k < outputs; k++) {
                const float *place = weights + h * to_row + k * to_output;
                for (int j = i; j < i + 2; j++) {
                    const long at = j / channels * to_column + j % channels * to_channel;
                    *packed++ = j < length ? narrow(place[at]) : 0;
                }
            }
        }
    }
}

/* Zero in place of a number below zero; NaN stays. */
INLINE uint16_t positive(uint16_t bits, int relu) {
    return relu & ((uint16_t)(bits - 0x8000) <= 0x7f80) ? 0 : bits;
}

INLINE __m512 product(__m512 sum, __m512i x, __m512i y) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
}

INLINE __m512i pair_at(const uint16_t *x) {
    int32_t pair;
    memcpy(&pair, x, 4);
    return _mm512_set1_epi32(pair);
}

INLINE __m512 widened(const uint16_t *x) {
    const __m256i bits = _mm256_loadu_si256((const void *)x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/* Add a row of the window as it lies in memory, in pairs; an odd one's last meets a zero. */
INLINE void add_window(const uint16_t *x, const int channels, const uint32_t *w, int outputs,
                       const int pixels, const int vectors, __m512 *sum) {
    ONE_BY_ONE for (int k = 0; k < (3 * channels + 1) / 2; k++, w += outputs) {
        __m512i weight[2];
        UNROLL for (int v = 0; v < vectors; v++) weight[v] = _mm512_loadu_si512(w + 16 * v);
        UNROLL for (int p = 0; p < pixels; p++) {
            const __m512i both = pair_at(x + p * channels + 2 * k);
            UNROLL for (int v = 0; v < vectors; v++)
                sum[p * vectors + v] = product(sum[p * vectors + v], weight[v], both);
        }
    }
}

/* The same by pairs of channels, for 16 outputs: each is read once for all three columns. */
INLINE void add_columns(const uint16_t *x, const int channels, const uint32_t *w, int outputs,
                        const int pixels, __m512 *sum) {
    ONE_BY_ONE for (int k = 0; k < channels / 2; k++, w += outputs) {
        __m512i weight[3];
        UNROLL for (int i = 0; i < 3; i++)
            weight[i] = _mm512_loadu_si512(w + (size_t)i * (channels / 2) * outputs);
        UNROLL for (int q = 0; q < pixels + 2; q++) {
            const __m512i both = pair_at(x + q * channels + 2 * k);
            UNROLL for (int i = 0; i < 3; i++)
                if (q >= i && q - i < pixels) sum[q - i] = product(sum[q - i], weight[i], both);
        }
    }
}

/* The sums of some pixels, [pixels, 16 * vectors] of [W, K] in float32.
 * x: the top left of the first one's window, in an image with a border; row: numbers from one row
 * to the next. w [3, pairs, K, 2]. As channels come last, the window's part of a row lies in one
 * piece and is taken in pairs; the number after an odd one's last meets a weight of zero.
 */
INLINE void convolve_tile(const uint16_t *x, size_t row, const int channels, const uint32_t *w,
                          const float *bias, int outputs, const int pixels, const int vectors,
                          float *y) {
    const int pairs = (3 * channels + 1) / 2;
    __m512 sum[16];
    UNROLL for (int i = 0; i < pixels * vectors; i++)
        sum[i] = bias ? _mm512_loadu_ps(bias + 16 * (i % vectors)) : _mm512_setzero_ps();
    for (int h = 0; h < 3; h++, x += row, w += pairs * outputs) {
        if (channels % 2 || vectors > 1) /* products enough for each number read */
            add_window(x, channels, w, outputs, pixels, vectors, sum);
        else
            add_columns(x, channels, w, outputs, pixels, sum);
    }
    UNROLL for (int i = 0; i < pixels * vectors; i++)
        _mm512_storeu_ps(y + (i / vectors) * outputs + 16 * (i % vectors), sum[i]);
}

INLINE void convolve_row(const uint16_t *x, int width, size_t row, const int channels,
                         const uint32_t *w, const float *bias, int outputs, const int vectors,
                         float *y) {
    const int most = 16 / vectors;
    for (int k = 0; k < outputs; k += 16 * vectors, w += 16 * vectors) {
        const float *b = bias ? bias + k : 0;
        int p = 0;
#define TILES(pixels)                                                                       \
    for (; p + (pixels) <= width; p += (pixels))                                            \
        convolve_tile(x + (size_t)p * channels, row, channels, w, b, outputs, pixels, vectors, \
                      y + (size_t)p * outputs + k)
        TILES(most);
        TILES(4);
        TILES(1);
#undef TILES
    }
}

/* Round a row's sums to y, after what is asked for. */
INLINE void finish_row(const float *sums, size_t length, int kind, const uint16_t *a,
                       const uint16_t *b, uint16_t *y) {
    const __m512 zero = _mm512_setzero_ps();
    for (size_t i = 0; i < length; i += 16) {
        __m512 s = _mm512_loadu_ps(sums + i);
        if (kind == RELU) s = _mm512_max_ps(zero, s); /* in this order NaN stays */
        if (kind == ADD) s = _mm512_add_ps(s, widened(a + i));
        if (kind == MASK || kind == MASK_ADD)
            s = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(widened(a + i), zero, _CMP_NLE_UQ), s);
        if (kind == MASK_ADD) s = _mm512_add_ps(s, widened(b + i));
        _mm256_storeu_si256((void *)(y + i), (__m256i)_mm512_cvtneps_pbh(s));
    }
}

/* Put an image into one with a border of zeros. */
INLINE void copy_inside(const uint16_t *x, int height, size_t length, int relu, size_t row,
                        uint16_t *inside) {
    for (int y = 0; y < height; y++, x += length, inside += row)
        for (size_t i = 0; i < length; i++) inside[i] = positive(x[i], relu);
}

/* y [N, H, W, K] = what is asked of weights * (relu ? max(x, 0) : x) + bias; 1 without memory.
 * weights [3, pairs, K, 2]; bias [K] or null; a, b [N, H, W, K] or null, as kind takes them.
 */
FAST int convolve(const uint16_t *x, long images, int height, int width, int channels, int relu,
                  const uint32_t *weights, const float *bias, int outputs, int kind,
                  const uint16_t *a, const uint16_t *b, uint16_t *y) {
    const size_t row = (size_t)(width + 2) * channels, length = (size_t)width * outputs;
    uint16_t *image = calloc((size_t)(height + 2) * row + 2, sizeof(uint16_t));
    float *sums = malloc(length * sizeof(float));
    const int is_wide = outputs % 32 == 0;
    for (long n = 0; image && sums && n < images; n++) {
        copy_inside(x + (size_t)n * height * width * channels, height, (size_t)width * channels,
                    relu, row, image + row + channels);
        for (int i = 0; i < height; i++, y += length) {
            const uint16_t *top = image + i * row;
            const size_t at = ((size_t)n * height + i) * length;
#define CASE(number)                                                                           \
    case number:                                                                               \
        if (is_wide) convolve_row(top, width, row, number, weights, bias, outputs, 2, sums);    \
        else convolve_row(top, width, row, number, weights, bias, outputs, 1, sums);            \
        break
            switch (channels) { /* numbers that the compiler knows become part of addresses */
                CASE(3);
                CASE(16);
                CASE(32);
                CASE(64);
            }
#undef CASE
            finish_row(sums, length, kind, a ? a + at : 0, b ? b + at : 0, y);
        }
    }
    const int failed = !image || !sums;
    free(image);
    free(sums);
    return failed;
}

#define STRIP 8 /* rows that are taken at once, few enough for the first cache */

/* Sums over some rows' pixels of x times y's gradient: [3, terms, 16 * vectors], with span * K
 * numbers from one of the three to the next.
 * x [H, slots, C]: each row's pairs of neighbors, slot s holds pixels s - 1 and s; g [H, pairs, K]:
 * pixels 2 j and 2 j + 1. So slot 2 j + w is what column w of the window has below pair j. The
 * three are its columns, or its rows with all their columns; apart is from one to the next in x.
 */
INLINE void correlate(const uint32_t *x, size_t row, int channels, size_t apart, const uint32_t *g,
                      int pairs, int outputs, int height, const int terms, const int vectors,
                      size_t span, float *gradient) {
    __m512 sum[27];
    UNROLL for (int i = 0; i < 3 * terms * vectors; i++) sum[i] = _mm512_setzero_ps();
    for (int y = 0; y < height; y++, x += row) {
        const uint32_t *line[3] = {x, x + apart, x + 2 * apart};
        for (int j = 0; j < pairs; j++, g += outputs) {
            __m512i own[2];
            UNROLL for (int v = 0; v < vectors; v++) own[v] = _mm512_loadu_si512(g + 16 * v);
            UNROLL for (int i = 0; i < 3 * terms; i++) {
                const __m512i both = _mm512_set1_epi32((int)line[i / terms][i % terms]);
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[i * vectors + v] = product(sum[i * vectors + v], own[v], both);
            }
            UNROLL for (int i = 0; i < 3; i++) line[i] += 2 * channels;
        }
    }
    UNROLL for (int i = 0; i < 3 * terms; i++) {
        float *place = gradient + (i / terms * span + i % terms) * outputs;
        UNROLL for (int v = 0; v < vectors; v++) {
            const __m512 before = _mm512_loadu_ps(place + 16 * v);
            _mm512_storeu_ps(place + 16 * v, _mm512_add_ps(before, sum[i * vectors + v]));
        }
    }
}

/* All weights' sums over the rows first..last-1 of g [rows, pairs, K] and the rows first-1..last of
 * x; of those, rows beyond the image are left out.
 */
INLINE void correlate_rows(const uint32_t *x, size_t row, int channels, const uint32_t *g,
                           int pairs, int outputs, int rows, int is_first, int is_last,
                           float *gradient) {
    if (channels == 3) { /* few, so that all three rows of the window are taken at once */
        for (int k = 0; k < outputs; k += 16)
            correlate(x, row, 3, row, g + k, pairs, outputs, rows, 9, 1, 9, gradient + k);
        return;
    }
    const size_t g_row = (size_t)pairs * outputs;
    for (int h = 0; h < 3; h++) {
        const int first = h == 0 && is_first, count = rows - first - (h == 2 && is_last);
        const uint32_t *top = x + (h + first) * row, *below = g + first * g_row;
        float *own = gradient + (size_t)(3 * h) * channels * outputs;
        for (int c = 0; c < channels; c += outputs % 32 ? 8 : 4)
            for (int k = 0; k < outputs; k += outputs % 32 ? 16 : 32) {
                const uint32_t *from = top + c, *with = below + k;
                float *to = own + (size_t)c * outputs + k;
                if (outputs % 32)
                    correlate(from, row, channels, channels, with, pairs, outputs, count, 8, 1,
                              channels, to);
                else
                    correlate(from, row, channels, channels, with, pairs, outputs, count, 4, 2,
                              channels, to);
            }
    }
}

/* Each pixel of a row beside the one before it; slots of them, zeros outside. */
INLINE void pair_neighbors(const uint16_t *restrict x, int width, int channels, int relu,
                           uint32_t *restrict pairs) {
    const size_t length = (size_t)width * channels, inner = length - channels;
    for (int c = 0; c < channels; c++) pairs[c] = (uint32_t)positive(x[c], relu) << 16;
    for (size_t i = 0; i < inner; i++)
        pairs[channels + i] = positive(x[i], relu)
                            | (uint32_t)positive(x[channels + i], relu) << 16;
    for (int c = 0; c < channels; c++) pairs[length + c] = positive(x[inner + c], relu);
}

/* A row's pixels two by two, an odd one's partner is zero. */
INLINE void pair_gradients(const uint16_t *restrict g, int width, int outputs,
                           uint32_t *restrict pairs) {
    for (int x = 0; x < width; x += 2, g += 2 * outputs, pairs += outputs)
        for (int k = 0; k < outputs; k += 16) {
            const __m256i left = _mm256_loadu_si256((const void *)(g + k));
            const __m256i right = x + 1 < width ? _mm256_loadu_si256((const void *)(g + outputs + k))
                                                : _mm256_setzero_si256();
            const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(right), 16);
            _mm512_storeu_si512(pairs + k, _mm512_or_si512(_mm512_cvtepu16_epi32(left), high));
        }
}

/* Add to [K] the sums of some pairs; K divides 64, and as many zeros may follow them. */
INLINE void sum_gradients(const uint32_t *pairs, size_t length, int outputs, float *bias) {
    const __m512i ones = _mm512_set1_epi32(0x3f803f80);
    __m512 sum[4]; /* several, as one would wait for itself */
    UNROLL for (int i = 0; i < 4; i++) sum[i] = _mm512_setzero_ps();
    for (size_t at = 0; at < length; at += 64)
        UNROLL for (int i = 0; i < 4; i++)
            sum[i] = product(sum[i], _mm512_loadu_si512(pairs + at + 16 * i), ones);
    UNROLL for (int i = 0; i < 4; i++) {
        float *place = bias + 16 * i % outputs;
        _mm512_storeu_ps(place, _mm512_add_ps(_mm512_loadu_ps(place), sum[i]));
    }
}

/* Add to the gradients of weights [3, 3, C, K] and bias [K] those of y = weights * x + bias, or
 * with max(x, 0) for x; returns 0, or 1 without memory. g [N, H, W, K]: y's gradient.
 */
FAST int convolve_backward(const uint16_t *x, const uint16_t *g, long images, int height,
                           int width, int channels, int relu, int outputs, float *weights,
                           float *bias) {
    const int pairs = (width + 1) / 2;
    const size_t row = (size_t)(2 * pairs + 1) * channels, g_row = (size_t)pairs * outputs;
    uint32_t *neighbors = calloc((STRIP + 2) * row, sizeof(uint32_t));
    uint32_t *gradients = calloc(STRIP * g_row + 64, sizeof(uint32_t));
    const int failed = !neighbors || !gradients;
    for (long i = 0; !failed && i < images * height; ) {
        const int first = (int)(i % height), left = height - first;
        const int rows = left < STRIP ? left : STRIP;
        for (int h = -1; h <= rows; h++) {
            uint32_t *to = neighbors + (h + 1) * row;
            if (first + h < 0 || first + h == height) memset(to, 0, row * sizeof(uint32_t));
            else pair_neighbors(x + (size_t)(i + h) * width * channels, width, channels, relu, to);
        }
        for (int h = 0; h < rows; h++)
            pair_gradients(g + (size_t)(i + h) * width * outputs, width, outputs,
                           gradients + h * g_row);
        memset(gradients + rows * g_row, 0, 64 * sizeof(uint32_t));
        sum_gradients(gradients, rows * g_row, outputs, bias);
        correlate_rows(neighbors, row, channels, gradients, pairs, outputs, rows, first == 0,
                       left == rows, weights);
        i += rows;
    }
    free(neighbors);
    free(gradients);
    return failed;
}
#else
int convolution_is_fast(void) { return 0; }
#endif
