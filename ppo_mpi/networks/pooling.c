/* Max-pooling of bfloat16 images that lie channels-last in memory: 3 x 3, stride 2, padding 1.
 *
 * x [N, H, W, C] becomes y [N, (H + 1) / 2, (W + 1) / 2, C]. For the way back it is noted from
 * which place of its window, 0..8 in reading order, each maximum came; the first of equal ones.
 * Numbers come as their 16 bits, and are compared as whole numbers. Loops over a whole row are
 * what the compiler makes wide instructions of.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && __GNUC__ >= 12
/* The processor's version is chosen when the library is loaded. */
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif
#define INLINE static inline __attribute__((always_inline))

/* A whole number in the order of the floating-point one; both zeros are 0, NaN is the largest. */
INLINE int16_t key_of(uint16_t bits) {
    int16_t size = (int16_t)(bits & 0x7fff);
    int16_t sign = (int16_t)((int16_t)bits >> 15);
    return size > 0x7f80 ? 0x7fff : (int16_t)((size ^ sign) - sign);
}

/* What is known of a row of windows, [W' * C] each. */
typedef struct {
    uint16_t *value;
    int16_t *key;
    uint8_t *place;
} Row;

#define ROW_BYTES 5

/* The maximum of each window of one row x [W, C] alone; places 0..2. */
INLINE void pool_row(const uint16_t *restrict x, int width, int channels, Row row) {
    uint16_t *restrict value = row.value;
    int16_t *restrict key = row.key;
    uint8_t *restrict place = row.place;
    for (int o = 0; 2 * o < width; o++) {
        const uint16_t *middle = x + (size_t)(2 * o) * channels;
        const uint16_t *left = o ? middle - channels : middle;
        const uint16_t *right = 2 * o + 1 < width ? middle + channels : middle;
        const uint8_t first = o ? 0 : 1;
        for (int c = 0; c < channels; c++) {
            uint16_t v = left[c], second = middle[c], third = right[c];
            int16_t k = key_of(v), k1 = key_of(second), k2 = key_of(third);
            uint8_t p = first;
            if (k1 > k) { k = k1; v = second; p = 1; }
            if (k2 > k) { k = k2; v = third; p = 2; }
            value[(size_t)o * channels + c] = v;
            key[(size_t)o * channels + c] = k;
            place[(size_t)o * channels + c] = p;
        }
    }
}

/* One row of the result from the three rows under its windows; top is the first one's place. */
INLINE void join_rows(Row row0, Row row1, Row row2, uint8_t top, size_t length,
                      uint16_t *restrict y, uint8_t *restrict places) {
    const uint16_t *v0 = row0.value, *v1 = row1.value, *v2 = row2.value;
    const int16_t *k0 = row0.key, *k1 = row1.key, *k2 = row2.key;
    const uint8_t *p0 = row0.place, *p1 = row1.place, *p2 = row2.place;
    for (size_t i = 0; i < length; i++) {
        uint16_t v = v0[i];
        int16_t k = k0[i];
        uint8_t p = (uint8_t)(p0[i] + top);
        if (k1[i] > k) { k = k1[i]; v = v1[i]; p = (uint8_t)(p1[i] + 3); }
        if (k2[i] > k) { k = k2[i]; v = v2[i]; p = (uint8_t)(p2[i] + 6); }
        y[i] = v;
        places[i] = p;
    }
}

INLINE void pool_image(const uint16_t *x, int height, int width, int channels, uint16_t *y,
                       uint8_t *places, Row rows[3], size_t length) {
    for (int o = 0; 2 * o < height; o++) {
        const uint16_t *middle = x + (size_t)(2 * o) * width * channels;
        const int has_last = 2 * o + 1 < height;
        pool_row(middle, width, channels, rows[1]);
        if (has_last) pool_row(middle + (size_t)width * channels, width, channels, rows[2]);
        join_rows(rows[o ? 0 : 1], rows[1], rows[has_last ? 2 : 1], o ? 0 : 3, length,
                  y + o * length, places + o * length);
        Row last = rows[2]; /* the first one of the next windows */
        rows[2] = rows[0];
        rows[0] = last;
    }
}

/* Pool images; returns 0, or 1 without memory. */
FAST int max_pool(const uint16_t *x, long images, int height, int width, int channels,
                  uint16_t *y, uint8_t *places) {
    const size_t length = (size_t)((width + 1) / 2) * channels;
    const size_t size = length * ((height + 1) / 2);
    char *memory = malloc(3 * ROW_BYTES * length);
    if (!memory) return 1;
    Row rows[3];
    for (int i = 0; i < 3; i++) {
        rows[i].value = (uint16_t *)memory + i * length;
        rows[i].key = (int16_t *)memory + (3 + i) * length;
        rows[i].place = (uint8_t *)memory + (12 + i) * length;
    }
    for (long n = 0; n < images; n++) {
        const uint16_t *image = x + (size_t)n * height * width * channels;
        if (channels == 16) /* a number that the compiler knows makes the inner loop faster */
            pool_image(image, height, width, 16, y + n * size, places + n * size, rows, length);
        else if (channels == 32)
            pool_image(image, height, width, 32, y + n * size, places + n * size, rows, length);
        else
            pool_image(image, height, width, channels, y + n * size, places + n * size, rows, length);
    }
    free(memory);
    return 0;
}

/* a + b, rounded to nearest even; NaN keeps being NaN, as its low half is 0. */
INLINE uint16_t plus(uint16_t a, uint16_t b) {
    uint32_t wide_a = (uint32_t)a << 16, wide_b = (uint32_t)b << 16, bits;
    float x, y;
    memcpy(&x, &wide_a, 4);
    memcpy(&y, &wide_b, 4);
    x += y;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* The part of gradient g that goes back to a place; as if added to 0, so that -0 becomes 0. */
INLINE uint16_t share(uint16_t g, uint8_t taken, uint8_t place) {
    return (taken == place) & (g != 0x8000) ? g : 0;
}

/* The gradient of one row of x: of its even and of its odd numbers, [W' * C] each.
 * g, p: gradient and places of the windows above it, in which the row is the one whose places
 * begin at first; h, q: of those below it, in which it is the top one, or null.
 */
INLINE void row_gradient(const uint16_t *restrict g, const uint8_t *restrict p, uint8_t first,
                         const uint16_t *restrict h, const uint8_t *restrict q, size_t length,
                         size_t step, uint16_t *restrict even, uint16_t *restrict odd) {
    const uint8_t left = first, middle = first + 1, right = first + 2;
    const size_t most = length - step; /* odd numbers have a window on either side, but the last */
    if (!h) {
        for (size_t i = 0; i < length; i++) even[i] = share(g[i], p[i], middle);
        for (size_t i = 0; i < most; i++)
            odd[i] = plus(share(g[i], p[i], right), share(g[i + step], p[i + step], left));
        for (size_t i = most; i < length; i++) odd[i] = share(g[i], p[i], right);
        return;
    }
    for (size_t i = 0; i < length; i++)
        even[i] = plus(share(g[i], p[i], middle), share(h[i], q[i], 1));
    for (size_t i = 0; i < most; i++) {
        uint16_t sum = plus(share(g[i], p[i], right), share(g[i + step], p[i + step], left));
        sum = plus(sum, share(h[i], q[i], 2));
        odd[i] = plus(sum, share(h[i + step], q[i + step], 0));
    }
    for (size_t i = most; i < length; i++)
        odd[i] = plus(share(g[i], p[i], right), share(h[i], q[i], 2));
}

INLINE void image_gradient(const uint16_t *g, const uint8_t *places, int height, int width,
                           size_t step, uint16_t *even, uint16_t *odd, uint16_t *gradient) {
    const size_t length = (size_t)((width + 1) / 2) * step;
    for (int y = 0; y < height; y++) {
        const int is_odd = y & 1, has_below = is_odd && y + 1 < height;
        const uint16_t *above = g + y / 2 * length, *below = above + length;
        const uint8_t *p = places + y / 2 * length, *q = p + length;
        if (has_below) row_gradient(above, p, 6, below, q, length, step, even, odd);
        else row_gradient(above, p, is_odd ? 6 : 3, 0, 0, length, step, even, odd);
        for (int x = 0; x < width; x++, gradient += step)
            memcpy(gradient, (x & 1 ? odd : even) + (x / 2) * step, 2 * step);
    }
}

/* Gradient of x from that of y; returns 0, or 1 without memory. */
FAST int max_pool_backward(const uint16_t *g, const uint8_t *places, long images, int height,
                           int width, int channels, uint16_t *gradient) {
    const size_t step = (size_t)channels, length = (size_t)((width + 1) / 2) * step;
    const size_t size = length * ((height + 1) / 2), whole = (size_t)height * width * step;
    uint16_t *even = malloc(2 * sizeof(uint16_t) * length), *odd = even + length;
    if (!even) return 1;
    for (long n = 0; n < images; n++, g += size, places += size, gradient += whole) {
        if (channels == 16) /* a number that the compiler knows makes the copies faster */
            image_gradient(g, places, height, width, 16, even, odd, gradient);
        else if (channels == 32)
            image_gradient(g, places, height, width, 32, even, odd, gradient);
        else
            image_gradient(g, places, height, width, step, even, odd, gradient);
    }
    free(even);
    return 0;
}
