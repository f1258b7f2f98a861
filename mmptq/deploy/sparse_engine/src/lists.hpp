// Neighbours of the sites of a tile, for one instruction set; see kernels.hpp.
#pragma once
#include <cstring>

#include "engine.hpp"

namespace mmptq {
namespace {

// Where pairs of a tile go.
struct Pairs {
    int32_t *rows;
    uint8_t *places;
    int32_t count;
};

// Pairs of a line of cells, offset by offset; `line` holds its first cell for each site, or -1.
inline void list_cells(const Geometry &g, const Sites &in, const int64_t *line,
                       const int32_t *coords, int count, int32_t *starts, Pairs &to) {
    for (int64_t kx = 0; kx < g.kernel[2]; kx++) {
        const int32_t *xs = g.source[2] + kx * g.extent[2];
        for (int i = 0; i < count; i++) {
            const int64_t x = xs[coords[i * 4 + 3]];
            if (line[i] < 0 || x < 0) continue;
            const int64_t cell = line[i] + x;
            const Word &word = in.words[cell >> 6];
            const uint64_t bit = uint64_t{1} << (cell & 63);
            to.rows[to.count] = static_cast<int32_t>(word.rank) +
                                __builtin_popcountll(word.bits & (bit - 1));
            to.places[to.count] = static_cast<uint8_t>(i);
            to.count += (word.bits & bit) != 0;
        }
        starts[kx] = to.count;
    }
}

// The same where the cells of a site lie side by side: most sites have none of them.
inline void list_windows(const Geometry &g, const Sites &in, const int64_t *line,
                         const int32_t *coords, int count, int32_t *starts, Pairs &to) {
    int32_t rows[WINDOW][TILE];
    uint8_t places[WINDOW][TILE];
    int counts[WINDOW] = {};
    const int64_t kernel = g.kernel[2];
    for (int i = 0; i < count; i++) {
        if (line[i] < 0) continue;
        const int32_t x = coords[i * 4 + 3], first = g.first[x];
        const int outside = first < 0 ? -first : 0;
        const int64_t cell = line[i] + first + outside;
        const Word &word = in.words[cell >> 6];
        const int shift = static_cast<int>(cell & 63);
        uint64_t bits = word.bits >> shift;
        if (shift + kernel > 64) bits |= (&word)[1].bits << (64 - shift);
        uint64_t active = (bits << outside) & static_cast<uint64_t>(g.inside[x]);
        if (!active) continue;
        // A word without active cells has no rank: then all of them lie in the next one.
        int32_t row = static_cast<int32_t>((&word)[1].rank);
        if (word.bits >> shift) {
            row = static_cast<int32_t>(word.rank) +
                  __builtin_popcountll(word.bits & ((uint64_t{1} << shift) - 1));
        }
        for (; active; active &= active - 1) {
            const int kx = __builtin_ctzll(active);
            rows[kx][counts[kx]] = row++;
            places[kx][counts[kx]++] = static_cast<uint8_t>(i);
        }
    }
    for (int64_t kx = 0; kx < kernel; kx++) {
        std::memcpy(to.rows + to.count, rows[kx], counts[kx] * sizeof(int32_t));
        std::memcpy(to.places + to.count, places[kx], counts[kx]);
        to.count += counts[kx];
        starts[kx] = to.count;
    }
}

// Pairs of a tile, offset by offset. Rows follow from a lookup of the input cell.
void list_tile(const Geometry &g, const Sites &out, const Sites &in, Lists &lists, int64_t tile) {
    const int64_t first = tile * TILE;
    const int count = static_cast<int>(lists.sites - first < TILE ? lists.sites - first : TILE);
    const int32_t *coords = out.coords + first * 4;
    int32_t *starts = lists.starts + tile * (lists.offsets + 1);
    const int64_t begin = tile * lists.tile_capacity;
    Pairs pairs = {lists.rows + begin, lists.places + begin, 0};
    int64_t line[TILE];
    *starts++ = 0;
    for (int64_t kz = 0; kz < g.kernel[0]; kz++) {
        const int32_t *zs = g.source[0] + kz * g.extent[0];
        for (int64_t ky = 0; ky < g.kernel[1]; ky++, starts += g.kernel[2]) {
            const int32_t *ys = g.source[1] + ky * g.extent[1];
            for (int i = 0; i < count; i++) {
                const int64_t z = zs[coords[i * 4 + 1]], y = ys[coords[i * 4 + 2]];
                const int64_t plane = coords[i * 4] * in.shape[1] + z;
                line[i] = z < 0 || y < 0 ? -1 : (plane * in.shape[2] + y) * in.shape[3];
                if (line[i] >= 0 && g.inside) {
                    const int32_t x = g.first[coords[i * 4 + 3]];
                    __builtin_prefetch(in.words + ((line[i] + (x < 0 ? 0 : x)) >> 6));
                }
            }
            if (g.inside) {
                list_windows(g, in, line, coords, count, starts, pairs);
            } else {
                list_cells(g, in, line, coords, count, starts, pairs);
            }
        }
    }
}

}  // namespace
}  // namespace mmptq
