// Plain C++, for any processor. Weights of a block lie in two rows of int16, one for each half of
// a group, so that compilers find the widening multiplications.
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

template <int B>
inline void add_shorts(const int32_t *x, const int32_t *weight, int64_t groups, int32_t *__restrict sums) {
    for (int64_t g = 0; g < groups; g++) {
        const int16_t *w = reinterpret_cast<const int16_t *>(weight + g * B);
        int16_t pair[2];
        std::memcpy(pair, x + g, sizeof pair);
        // Two loops: compilers find the pattern of a widening multiplication in each.
        for (int o = 0; o < B; o++) sums[o] += pair[0] * w[o];
        for (int o = 0; o < B; o++) sums[o] += pair[1] * w[B + o];
    }
}

template <int B>
inline void add_floats(const int32_t *x, const int32_t *weight, int64_t groups, int32_t *__restrict sums) {
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
const Kernels plain_kernels = {"plain", 0, 1, convolve, list_tile, quantize, block};
}  // namespace mmptq
