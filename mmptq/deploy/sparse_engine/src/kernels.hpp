// Kernels for one instruction set. The file that includes this one defines, in an unnamed
// namespace, a struct Isa with a vector type of LANES 32-bit values and its operations. Everything
// here has internal linkage: code for one instruction set must never run in place of another's.
#include <cstring>

#include "engine.hpp"

namespace mmptq {
namespace {

#ifndef MMPTQ_OWN_MULTIPLICATION
// R sites times V vectors of output channels, for one kernel offset.
template <class Dot, int V, int R>
inline void multiply(const Conv &c, const int32_t *weight, const int32_t *correction,
                     const int32_t *rows, const uint8_t *places, int32_t *sums) {
    using Vector = typename Isa::Vector;
    constexpr int L = Isa::LANES;
    Vector sum[R][V];
    const int32_t *x[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        x[r] = c.x + static_cast<int64_t>(rows[r]) * c.groups;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[r][v] = Isa::load(sums + (places[r] * V + v) * L);
    }
    if (correction) {
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            const Vector added = Isa::load(correction + v * L);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) sum[r][v] = Isa::add(sum[r][v], added);
        }
    }
    const int64_t groups = c.groups;
    for (int64_t g = 0; g < groups; g++) {
        Vector w[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) w[v] = Isa::load(weight + (g * V + v) * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const Vector value = Isa::broadcast(x[r][g]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sum[r][v] = Dot::add(sum[r][v], value, w[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) Isa::store(sums + (places[r] * V + v) * L, sum[r][v]);
    }
}

// All sites of a list, R at a time; a smaller R for the rest.
template <class Dot, int V, int R>
inline void multiply_list(const Conv &c, const int32_t *weight, const int32_t *correction,
                          const int32_t *rows, const uint8_t *places, int count, int32_t *sums) {
    int i = 0;
    for (; i + R <= count; i += R) {
        multiply<Dot, V, R>(c, weight, correction, rows + i, places + i, sums);
    }
    if constexpr (R > 1) {
        if (i < count) {
            multiply_list<Dot, V, R / 2>(c, weight, correction, rows + i, places + i, count - i,
                                         sums);
        }
    }
}
#else
// One site after the other; sums of a block stay on the stack.
template <class Dot, int V, int R>
inline void multiply_list(const Conv &c, const int32_t *weight, const int32_t *correction,
                          const int32_t *rows, const uint8_t *places, int count, int32_t *sums) {
    constexpr int B = V * Isa::LANES;
    for (int i = 0; i < count; i++) {
        const int32_t *x = c.x + static_cast<int64_t>(rows[i]) * c.groups;
        int32_t sum[B];
        std::memcpy(sum, sums + places[i] * B, sizeof sum);
        for (int o = 0; correction && o < B; o++) sum[o] += correction[o];
        if (Dot::FLOAT) {
            add_floats<B>(x, weight, c.groups, sum);
        } else {
            add_shorts<B>(x, weight, c.groups, sum);
        }
        std::memcpy(sums + places[i] * B, sum, sizeof sum);
    }
}
#endif

// Bias, residual, ReLU. Multiplications and additions are never fused, so that all instruction
// sets give the same bits.
template <class Sum>
inline void finish_row(const Conv &c, const Sum *sums, int64_t site, int64_t first, int width,
                       float *y) {
    const float *scale = c.scale + first, *bias = c.bias + first;
    for (int o = 0; o < width; o++) y[o] = static_cast<float>(sums[o]) * scale[o] + bias[o];
    if (c.residual) {
        const float *residual = c.residual + site * c.channels + first;
        for (int o = 0; o < width; o++) y[o] += residual[o];
    }
    if (c.relu) {
        for (int o = 0; o < width; o++) y[o] = y[o] > 0.0f ? y[o] : 0.0f;
    }
}

// Nearest integers, ties to even, kept within bounds. Adding 1.5 * 2^23 leaves no fraction.
template <class T>
inline void quantize_row(const float *y, T *q, int64_t width, float inverse, int32_t zero,
                         float low, float high) {
    constexpr float MAGIC = 12582912.0f;
    for (int64_t o = 0; o < width; o++) {
        float value = y[o] * inverse;
        value = value > low ? value : low;
        value = value < high ? value : high;
        value = (value + MAGIC) - MAGIC;
        q[o] = static_cast<T>(static_cast<int32_t>(value) + zero);
    }
}

inline void write_row(const Conv &c, const float *y, int64_t site, int64_t first, int width) {
    if (c.y) std::memcpy(c.y + site * c.channels + first, y, width * sizeof(float));
    if (!c.q) return;
    const bool last = first + width == c.channels;
    const int64_t padding = last ? c.q_stride - c.channels : 0;
    if (c.q_bytes == 1) {
        uint8_t *q = static_cast<uint8_t *>(c.q) + site * c.q_stride + first;
        quantize_row(y, q, width, c.q_inverse, c.q_zero, c.q_low, c.q_high);
        for (int64_t o = 0; o < padding; o++) q[width + o] = 0;
    } else {
        int16_t *q = static_cast<int16_t *>(c.q) + site * c.q_stride + first;
        quantize_row(y, q, width, c.q_inverse, c.q_zero, c.q_low, c.q_high);
        for (int64_t o = 0; o < padding; o++) q[width + o] = 0;
    }
}

template <class Dot, int V, int R>
inline void convolve_tile(const Conv &c, const Lists &lists, int64_t tile) {
    constexpr int B = V * Isa::LANES;
    alignas(64) int32_t sums[TILE * B];
    alignas(64) float y[B];
    const int64_t first = tile * TILE;
    const int count = static_cast<int>(lists.sites - first < TILE ? lists.sites - first : TILE);
    const int32_t *starts = lists.starts + tile * (lists.offsets + 1);
    const int32_t *rows = lists.rows + tile * lists.tile_capacity;
    const uint8_t *places = lists.places + tile * lists.tile_capacity;
    const int64_t padded = (c.channels + B - 1) / B * B;
    for (int64_t o = 0; o < c.channels; o += B) {
        std::memset(sums, 0, static_cast<size_t>(count) * B * sizeof(int32_t));
        for (int64_t k = 0; k < lists.offsets; k++) {
            const int32_t *weight = c.weight + (o * lists.offsets + k * B) * c.groups;
            const int32_t *correction = c.correction ? c.correction + k * padded + o : nullptr;
            multiply_list<Dot, V, R>(c, weight, correction, rows + starts[k], places + starts[k],
                                     starts[k + 1] - starts[k], sums);
        }
        const int width = static_cast<int>(c.channels - o < B ? c.channels - o : B);
        for (int i = 0; i < count; i++) {
            if (Dot::FLOAT) {
                finish_row(c, reinterpret_cast<const float *>(sums) + i * B, first + i, o, width, y);
            } else {
                finish_row(c, sums + i * B, first + i, o, width, y);
            }
            write_row(c, y, first + i, o, width);
        }
    }
}

template <int V, int R>
inline void convolve_kind(const Conv &c, const Lists &lists, int64_t tile) {
    if (c.kind == 2) {
        convolve_tile<Isa::Floats, V, R>(c, lists, tile);
    } else if (c.kind == 1) {
        convolve_tile<Isa::Shorts, V, R>(c, lists, tile);
    } else {
        convolve_tile<Isa::Bytes, V, R>(c, lists, tile);
    }
}

// Pairs of a tile, offset by offset. Rows follow from a lookup of the input cell.
void list_tile(const Geometry &g, const Sites &out, const Sites &in, Lists &lists, int64_t tile) {
    const int64_t first = tile * TILE;
    const int count = static_cast<int>(lists.sites - first < TILE ? lists.sites - first : TILE);
    const int32_t *coords = out.coords + first * 4;
    int32_t *starts = lists.starts + tile * (lists.offsets + 1);
    int32_t *rows = lists.rows + tile * lists.tile_capacity;
    uint8_t *places = lists.places + tile * lists.tile_capacity;
    int64_t line[TILE];
    int32_t pairs = 0, k = 0;
    starts[0] = 0;
    for (int64_t kz = 0; kz < g.kernel[0]; kz++) {
        const int32_t *zs = g.source[0] + kz * g.extent[0];
        for (int64_t ky = 0; ky < g.kernel[1]; ky++) {
            const int32_t *ys = g.source[1] + ky * g.extent[1];
            for (int i = 0; i < count; i++) {
                const int64_t z = zs[coords[i * 4 + 1]], y = ys[coords[i * 4 + 2]];
                const int64_t plane = coords[i * 4] * in.shape[1] + z;
                line[i] = z < 0 || y < 0 ? -1 : (plane * in.shape[2] + y) * in.shape[3];
            }
            for (int64_t kx = 0; kx < g.kernel[2]; kx++) {
                const int32_t *xs = g.source[2] + kx * g.extent[2];
                for (int i = 0; i < count; i++) {
                    const int64_t x = xs[coords[i * 4 + 3]];
                    if (line[i] < 0 || x < 0) continue;
                    const int64_t cell = line[i] + x;
                    const Word &word = in.words[cell >> 6];
                    const uint64_t bit = uint64_t{1} << (cell & 63);
                    rows[pairs] = static_cast<int32_t>(word.rank) +
                                  __builtin_popcountll(word.bits & (bit - 1));
                    places[pairs] = static_cast<uint8_t>(i);
                    pairs += (word.bits & bit) != 0;
                }
                starts[++k] = pairs;
            }
        }
    }
}

template <class T>
inline void quantize_rows(const Rows &r, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
        T *q = static_cast<T *>(r.q) + (r.rows ? r.rows[i] : i) * r.stride;
        quantize_row(r.x + i * r.channels, q, r.channels, r.inverse, r.zero, r.low, r.high);
        for (int64_t o = r.channels; o < r.stride; o++) q[o] = 0;
    }
}

void quantize(const Rows &r, int64_t first, int64_t last) {
    if (r.kind == 0) {
        quantize_rows<uint8_t>(r, first, last);
    } else if (r.kind == 1) {
        quantize_rows<int16_t>(r, first, last);
    } else {
        for (int64_t i = first; i < last; i++) {
            float *q = static_cast<float *>(r.q) + (r.rows ? r.rows[i] : i) * r.stride;
            std::memcpy(q, r.x + i * r.channels, r.channels * sizeof(float));
        }
    }
}

}  // namespace
}  // namespace mmptq
