// SSE2, which every x86-64 processor has.
#include <emmintrin.h>

#include "engine.hpp"

namespace mmptq {
namespace {

struct Isa {
    static constexpr int LANES = 4;
    using Vector = __m128i;
    static Vector load(const int32_t *p) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    }
    static void store(int32_t *p, Vector v) {
        _mm_storeu_si128(reinterpret_cast<__m128i *>(p), v);
    }
    static Vector broadcast(int32_t value) { return _mm_set1_epi32(value); }
    static Vector add(Vector a, Vector b) { return _mm_add_epi32(a, b); }
    struct Shorts {
        static constexpr bool FLOAT = false;
        static Vector add(Vector sum, Vector x, Vector w) {
            return _mm_add_epi32(sum, _mm_madd_epi16(x, w));
        }
    };
    using Bytes = Shorts;
    struct Floats {
        static constexpr bool FLOAT = true;
        static Vector add(Vector sum, Vector x, Vector w) {
            const __m128 product = _mm_mul_ps(_mm_castsi128_ps(x), _mm_castsi128_ps(w));
            return _mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(sum), product));
        }
    };
};

}  // namespace
}  // namespace mmptq

#include "kernels.hpp"

namespace mmptq {
namespace {
int64_t block(int64_t) { return 2 * Isa::LANES; }
void convolve(const Conv &c, const Lists &lists, int64_t tile) {
    convolve_kind<2, 4>(c, lists, tile);
}
}  // namespace
const Kernels sse2_kernels = {"sse2", 0, 0, convolve, list_tile, quantize, encode_pillars, block};
}  // namespace mmptq
