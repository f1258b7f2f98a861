// AVX2. Compiled a second time with MMPTQ_AVX_VNNI_HERE for processors with AVX-VNNI, which
// multiply bytes as they are.
#include <immintrin.h>

#include "engine.hpp"

namespace mmptq {
namespace {

struct Isa {
    static constexpr int LANES = 8;
    using Vector = __m256i;
    static Vector load(const int32_t *p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    }
    static void store(int32_t *p, Vector v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), v);
    }
    static Vector broadcast(int32_t value) { return _mm256_set1_epi32(value); }
    static Vector add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
    struct Shorts {
        static constexpr bool FLOAT = false;
        static Vector add(Vector sum, Vector x, Vector w) {
            return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
        }
    };
#ifdef MMPTQ_AVX_VNNI_HERE
    struct Bytes {
        static constexpr bool FLOAT = false;
        static Vector add(Vector sum, Vector x, Vector w) {
            return _mm256_dpbusd_avx_epi32(sum, x, w);
        }
    };
#else
    using Bytes = Shorts;
#endif
    struct Floats {
        static constexpr bool FLOAT = true;
        static Vector add(Vector sum, Vector x, Vector w) {
            const __m256 product = _mm256_mul_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(w));
            return _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(sum), product));
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
#ifdef MMPTQ_AVX_VNNI_HERE
const Kernels avx_vnni_kernels = {"avx_vnni", 1, 0, convolve, list_tile, quantize, encode_pillars, block};
#else
const Kernels avx2_kernels = {"avx2", 0, 0, convolve, list_tile, quantize, encode_pillars, block};
#endif
}  // namespace mmptq
