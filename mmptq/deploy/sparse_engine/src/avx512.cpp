// AVX-512 with VNNI.
#include <immintrin.h>

#include "engine.hpp"

namespace mmptq {
namespace {

struct Isa {
    static constexpr int LANES = 16;
    using Vector = __m512i;
    static Vector load(const int32_t *p) { return _mm512_loadu_si512(p); }
    static void store(int32_t *p, Vector v) { _mm512_storeu_si512(p, v); }
    static Vector broadcast(int32_t value) { return _mm512_set1_epi32(value); }
    static Vector add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
    struct Bytes {
        static constexpr bool FLOAT = false;
        static Vector add(Vector sum, Vector x, Vector w) { return _mm512_dpbusd_epi32(sum, x, w); }
    };
    struct Shorts {
        static constexpr bool FLOAT = false;
        static Vector add(Vector sum, Vector x, Vector w) { return _mm512_dpwssd_epi32(sum, x, w); }
    };
    struct Floats {
        static constexpr bool FLOAT = true;
        static Vector add(Vector sum, Vector x, Vector w) {
            const __m512 product = _mm512_mul_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w));
            return _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(sum), product));
        }
    };
};

}  // namespace
}  // namespace mmptq

#include "kernels.hpp"

namespace mmptq {
namespace {
int64_t block(int64_t channels) {
    if (channels > 32) return 4 * Isa::LANES;
    return channels > 16 ? 2 * Isa::LANES : Isa::LANES;
}
void convolve(const Conv &c, const Lists &lists, int64_t tile) {
    if (c.block == 4 * Isa::LANES) {
        convolve_kind<4, 6>(c, lists, tile);
    } else if (c.block == 2 * Isa::LANES) {
        convolve_kind<2, 8>(c, lists, tile);
    } else {
        convolve_kind<1, 8>(c, lists, tile);
    }
}
}  // namespace
const Kernels avx512_kernels = {"avx512_vnni", 1, 0, convolve, list_tile, quantize, encode_pillars, block};
}  // namespace mmptq
