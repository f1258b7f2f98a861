// Plain C++, for any processor. The int16 weights of an output channel lie side by side: compilers
// know sums of products of int16 and have an instruction for them nearly everywhere (pmaddwd).
#include <cstring>

#include "engine.hpp"

namespace mmptq {
namespace {

struct Isa {
    static constexpr int LANES = 16;
    struct Shorts {
        static constexpr bool FLOAT = false;
    };
    using Bytes = Shorts;
    struct Floats {
        static constexpr bool FLOAT = true;
    };
};

// Eight output channels at a time; each loaded feature serves all of them.
template <int B>
inline void add_shorts(const int32_t *x, const int32_t *weight, int64_t groups,
                       int32_t *__restrict sums) {
    static_assert(B % 8 == 0, "blocks are whole eights");
    const int64_t n = 2 * groups;
    const int16_t *f = reinterpret_cast<const int16_t *>(x);
    for (int o = 0; o < B; o += 8, sums += 8) {
        const int16_t *a = reinterpret_cast<const int16_t *>(weight) + o * n;
        const int16_t *b = a + n, *c = b + n, *d = c + n, *e = d + n, *g = e + n, *h = g + n,
                      *i = h + n;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        for (int64_t k = 0; k < n; k++) {
            s0 += f[k] * a[k];
            s1 += f[k] * b[k];
            s2 += f[k] * c[k];
            s3 += f[k] * d[k];
            s4 += f[k] * e[k];
            s5 += f[k] * g[k];
            s6 += f[k] * h[k];
            s7 += f[k] * i[k];
        }
        sums[0] += s0;
        sums[1] += s1;
        sums[2] += s2;
        sums[3] += s3;
        sums[4] += s4;
        sums[5] += s5;
        sums[6] += s6;
        sums[7] += s7;
    }
}

template <int B>
inline void add_floats(const int32_t *x, const int32_t *weight, int64_t groups,
                       int32_t *__restrict sums) {
    float *sum = reinterpret_cast<float *>(sums);
    for (int64_t g = 0; g < groups; g++) {
        const float *w = reinterpret_cast<const float *>(weight + g * B);
        float value;
        std::memcpy(&value, x + g, sizeof value);
        for (int o = 0; o < B; o++) sum[o] += value * w[o];
    }
}

}  // namespace
}  // namespace mmptq

#define MMPTQ_OWN_MULTIPLICATION
#include "kernels.hpp"

namespace mmptq {
namespace {
int64_t block(int64_t channels) { return channels > 16 ? 2 * Isa::LANES : Isa::LANES; }
void convolve(const Conv &c, const Lists &lists, int64_t tile) {
    if (c.block == 2 * Isa::LANES) {
        convolve_kind<2, 1>(c, lists, tile);
    } else {
        convolve_kind<1, 1>(c, lists, tile);
    }
}
}  // namespace
const Kernels plain_kernels = {"plain", 0, 1, convolve, list_tile, quantize, encode_pillars, block};
}  // namespace mmptq
