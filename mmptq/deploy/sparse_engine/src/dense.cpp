// Dense maps of rows of features.
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine.hpp"
#include "pool.hpp"
#include "sites.hpp"

using namespace mmptq;

namespace {

// First site that does not come before a line of cells.
int64_t site_of_line(const Sites &s, int64_t b, int64_t z, int64_t y) {
    int64_t low = 0, high = s.count;
    const int64_t line = (b * s.shape[1] + z) * s.shape[2] + y;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        const int32_t *c = s.coords + middle * 4;
        if ((c[0] * s.shape[1] + c[1]) * s.shape[2] + c[2] < line) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

}  // namespace

extern "C" {

// A dense map (batch, channels, z, y, x) of rows of features, zero where no site is active.
void mmptq_dense(const Sites *s, const float *features, int64_t channels, float *map,
                 int threads) {
    constexpr int64_t TOGETHER = 8;
    const int64_t volume = s->shape[1] * s->shape[2] * s->shape[3];
    const int64_t blocks = (channels + TOGETHER - 1) / TOGETHER;
    std::vector<int64_t> ends(s->shape[0] + 1, 0);
    std::vector<int64_t> cells(s->count);
    for (int64_t i = 0; i < s->count; i++) {
        const int32_t *c = s->coords + i * 4;
        cells[i] = cell_of(*s, 0, c[1], c[2], c[3]);
        ends[c[0] + 1] = i + 1;
    }
    for (int64_t b = 1; b <= s->shape[0]; b++) ends[b] = std::max(ends[b], ends[b - 1]);
    pool().run(threads, s->shape[0] * blocks, [&](int64_t job) {
        const int64_t b = job / blocks, first = job % blocks * TOGETHER;
        const int64_t width = std::min(TOGETHER, channels - first);
        float *out = map + (b * channels + first) * volume;
        std::fill(out, out + width * volume, 0.0f);
        for (int64_t i = ends[b]; i < ends[b + 1]; i++) {
            const float *row = features + i * channels + first;
            for (int64_t o = 0; o < width; o++) out[o * volume + cells[i]] = row[o];
        }
    });
}

// A map (batch, y, x, channels * z) of rows of bytes, `zero` where no site is active. The channels
// of all z lie together, those of one channel side by side.
void mmptq_dense_bytes(const Sites *s, const uint8_t *rows, int64_t stride, int64_t channels,
                       int32_t zero, uint8_t *map, int threads) {
    constexpr int64_t LINES = 4;  // of a job
    const int64_t depth = s->shape[1], height = s->shape[2], width = s->shape[3];
    const int64_t blocks = (height + LINES - 1) / LINES, pixel = channels * depth;
    pool().run(threads, s->shape[0] * blocks, [&](int64_t job) {
        const int64_t b = job / blocks, y = job % blocks * LINES;
        const int64_t end = std::min(height, y + LINES);
        uint8_t *lines = map + b * height * width * pixel;
        std::memset(lines + y * width * pixel, zero, (end - y) * width * pixel);
        for (int64_t z = 0; z < depth; z++) {
            const int64_t last = site_of_line(*s, b, z, end);
            for (int64_t i = site_of_line(*s, b, z, y); i < last; i++) {
                const int32_t *c = s->coords + i * 4;
                uint8_t *to = lines + (c[2] * width + c[3]) * pixel + z;
                const uint8_t *row = rows + i * stride;
                if (depth == 1) {
                    std::memcpy(to, row, channels);
                } else {
                    for (int64_t o = 0; o < channels; o++) to[o * depth] = row[o];
                }
            }
        }
    });
}

}  // extern "C"
