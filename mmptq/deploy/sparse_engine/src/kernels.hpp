// Kernels for one instruction set. The file that includes this one defines, in an unnamed
// namespace, a struct Isa with a vector type of LANES 32-bit values and its operations. Everything
// here has internal linkage: code for one instruction set must never run in place of another's.
#include <cstring>
#include <type_traits>

#include "engine.hpp"
#include "lists.hpp"
#include "pillars.hpp"

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

// Nearest integers, kept within bounds.
template <class T>
inline void quantize_row(const float *y, T *q, int64_t width, float inverse, int32_t zero, float low,
                         float high) {
    for (int64_t o = 0; o < width; o++) {
        float value = y[o] * inverse;
        value = value > low ? value : low;
        value = value < high ? value : high;
        value = (value + MAGIC) - MAGIC;
        q[o] = static_cast<T>(static_cast<int32_t>(value) + zero);
    }
}

// Bias, residual, ReLU and rounding. Multiplications and additions are never fused, so that all
// instruction sets give the same bits.
template <class Sum>
inline void finish_row(const Conv &c, const Sum *sums, int64_t site, int64_t first, int64_t width) {
    float y[WIDEST];
    for (int64_t o = 0; o < width; o++) {
        y[o] = static_cast<float>(sums[o]) * c.scale[first + o] + c.bias[first + o];
        if (c.residual) y[o] += c.residual[site * c.channels + first + o];
        if (c.relu) y[o] = y[o] > 0.0f ? y[o] : 0.0f;
    }
    if (c.y) std::memcpy(c.y + site * c.channels + first, y, width * sizeof(float));
    if (!c.q) return;
    const int64_t place = site * c.q_stride + first;
    if (c.q_bytes == 1) {
        uint8_t *q = static_cast<uint8_t *>(c.q) + place;
        quantize_row(y, q, width, c.q_inverse, c.q_zero, c.q_low, c.q_high);
    } else {
        int16_t *q = static_cast<int16_t *>(c.q) + place;
        quantize_row(y, q, width, c.q_inverse, c.q_zero, c.q_low, c.q_high);
    }
}

constexpr int L = Isa::LANES;
typedef float Float __attribute__((vector_size(L * 4)));
typedef int32_t Int __attribute__((vector_size(L * 4)));
typedef int16_t Short __attribute__((vector_size(L * 2)));
typedef uint8_t Byte __attribute__((vector_size(L)));

template <class T>
inline T load_as(const void *p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// The same for whole blocks: V vectors of channels of some sites.
template <bool FLOAT, int V>
inline void finish_sites(const Conv &conv, const int32_t *sums, int64_t site, int count,
                         int64_t first) {
    const Conv c = conv;  // what is stored below may not change it
    const Float zero = {}, inverse = zero + c.q_inverse;
    const Float low = zero + c.q_low, high = zero + c.q_high;
    const Int shift = Int{} + (c.q_zero - MAGIC_BITS);
    for (int i = 0; i < count; i++, site++) {
        const int64_t at = site * c.channels + first, place = site * c.q_stride + first;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++, sums += L) {
            Float y;
            if (FLOAT) {
                y = load_as<Float>(sums);
            } else {
                y = __builtin_convertvector(load_as<Int>(sums), Float);
            }
            y = y * load_as<Float>(c.scale + first + v * L);
            y = y + load_as<Float>(c.bias + first + v * L);
            if (c.residual) y = y + load_as<Float>(c.residual + at + v * L);
            if (c.relu) y = y > zero ? y : zero;
            if (c.y) std::memcpy(c.y + at + v * L, &y, sizeof y);
            if (!c.q) continue;
            Float value = y * inverse;
            value = value > low ? value : low;
            value = value < high ? value : high;
            value = value + MAGIC;
            const Int integer = load_as<Int>(&value) + shift;
            if (c.q_bytes == 1) {
                const Byte q = __builtin_convertvector(integer, Byte);
                std::memcpy(static_cast<uint8_t *>(c.q) + place + v * L, &q, sizeof q);
            } else {
                const Short q = __builtin_convertvector(integer, Short);
                std::memcpy(static_cast<int16_t *>(c.q) + place + v * L, &q, sizeof q);
            }
        }
    }
}

// Zeros behind the last channel, up to a whole group.
inline void pad_rows(const Conv &c, int64_t site, int count) {
    const int64_t padding = (c.q_stride - c.channels) * c.q_bytes;
    for (int i = 0; padding && i < count; i++) {
        const int64_t end = ((site + i) * c.q_stride + c.channels) * c.q_bytes;
        std::memset(static_cast<char *>(c.q) + end, 0, padding);
    }
}

template <class Dot, int V, int R>
inline void convolve_tile(const Conv &c, const Lists &lists, int64_t tile) {
    constexpr int B = V * Isa::LANES;
    using Sum = std::conditional_t<Dot::FLOAT, float, int32_t>;
    alignas(64) int32_t sums[TILE * B];
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
        if (c.channels - o >= B) {
            finish_sites<Dot::FLOAT, V>(c, sums, first, count, o);
        } else {
            const Sum *row = reinterpret_cast<const Sum *>(sums);
            for (int i = 0; i < count; i++, row += B) {
                finish_row(c, row, first + i, o, c.channels - o);
            }
        }
    }
    if (c.q) pad_rows(c, first, count);
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
