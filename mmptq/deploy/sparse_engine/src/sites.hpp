// Active sites of a grid: bits of the cells, in whose order the rows of features lie.
#pragma once
#include <cstdlib>
#include <cstring>

#include "engine.hpp"

namespace mmptq {

inline void reserve(Sites &s, int64_t count) {
    if (count <= s.capacity) return;
    std::free(s.coords);
    s.capacity = count + count / 4;
    s.coords = static_cast<int32_t *>(std::malloc(s.capacity * 4 * sizeof(int32_t)));
}

// Forget all sites; costs time by their number and not by the size of the grid.
inline void clear(Sites &s) {
    for (int64_t i = 0; i < (s.num_words + 63) / 64; i++) {
        for (uint64_t rest = s.occupied[i]; rest; rest &= rest - 1) {
            s.words[i * 64 + __builtin_ctzll(rest)] = Word{};
        }
        s.occupied[i] = 0;
    }
    s.count = 0;
}

inline int64_t cell_of(const Sites &s, int64_t b, int64_t z, int64_t y, int64_t x) {
    return ((b * s.shape[1] + z) * s.shape[2] + y) * s.shape[3] + x;
}

// Returns whether the cell was active already.
inline bool mark(Sites &s, int64_t cell) {
    Word &word = s.words[cell >> 6];
    const uint64_t bit = uint64_t{1} << (cell & 63);
    const bool known = word.bits & bit;
    word.bits |= bit;
    s.occupied[cell >> 12] |= uint64_t{1} << (cell >> 6 & 63);
    return known;
}

// The same while other threads mark cells, too.
inline void mark_together(Sites &s, int64_t cell) {
    Word &word = s.words[cell >> 6];
    const uint64_t bit = uint64_t{1} << (cell & 63);
    if (__atomic_load_n(&word.bits, __ATOMIC_RELAXED) & bit) return;
    __atomic_fetch_or(&word.bits, bit, __ATOMIC_RELAXED);
    __atomic_fetch_or(s.occupied + (cell >> 12), uint64_t{1} << (cell >> 6 & 63),
                      __ATOMIC_RELAXED);
}

// Coordinates of a cell: batch, z, y, x.
inline void coords_of(const Sites &s, int64_t cell, int64_t *coords) {
    for (int axis = 3; axis > 0; axis--) {
        coords[axis] = cell % s.shape[axis];
        cell /= s.shape[axis];
    }
    coords[0] = cell;
}

// Number the marked cells and write their coordinates.
inline void number(Sites &s) {
    int64_t count = 0;
    for (int64_t i = 0; i < (s.num_words + 63) / 64; i++) {
        for (uint64_t rest = s.occupied[i]; rest; rest &= rest - 1) {
            Word &word = s.words[i * 64 + __builtin_ctzll(rest)];
            word.rank = static_cast<uint32_t>(count);
            count += __builtin_popcountll(word.bits);
        }
    }
    reserve(s, count);
    s.count = count;
    int32_t *coords = s.coords;
    for (int64_t i = 0; i < (s.num_words + 63) / 64; i++) {
        for (uint64_t rest = s.occupied[i]; rest; rest &= rest - 1) {
            const int64_t index = i * 64 + __builtin_ctzll(rest);
            int64_t first[4];
            coords_of(s, index * 64, first);
            for (uint64_t bits = s.words[index].bits; bits; bits &= bits - 1, coords += 4) {
                const int place = __builtin_ctzll(bits);
                if (first[3] + place < s.shape[3]) {  // on the line of the first cell
                    for (int axis = 0; axis < 3; axis++) {
                        coords[axis] = static_cast<int32_t>(first[axis]);
                    }
                    coords[3] = static_cast<int32_t>(first[3] + place);
                    continue;
                }
                int64_t other[4];
                coords_of(s, index * 64 + place, other);
                for (int axis = 0; axis < 4; axis++) coords[axis] = static_cast<int32_t>(other[axis]);
            }
        }
    }
}

inline int64_t row_of(const Sites &s, int64_t cell) {
    const Word &word = s.words[cell >> 6];
    const uint64_t below = (uint64_t{1} << (cell & 63)) - 1;
    return word.rank + __builtin_popcountll(word.bits & below);
}

}  // namespace mmptq
