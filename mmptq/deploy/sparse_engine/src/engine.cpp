// The functions that Python calls. Arguments were checked there, but for the coordinates.
#include "engine.hpp"

#include <algorithm>

#include "pool.hpp"
#include "sites.hpp"

using namespace mmptq;

const Kernels *mmptq::kernels(int number) {
    switch (number) {
#ifdef MMPTQ_X86
        case 1: return &sse2_kernels;
        case 2: return &avx2_kernels;
#ifdef MMPTQ_AVX_VNNI
        case 3: return &avx_vnni_kernels;
#endif
        case 4: return &avx512_kernels;
#endif
        case 0: return &plain_kernels;
    }
    return nullptr;
}

namespace {

bool has(int number) {
#ifdef MMPTQ_X86
    switch (number) {
        case 1: return true;
        case 2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
        case 3: {
            if (!has(2)) return false;
            unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
            __asm__("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(1));
            return eax >> 4 & 1;
        }
        case 4:
            return has(2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
    }
#endif
    return number == 0;
}

constexpr int64_t ROWS = 1024;  // rows of a job
// From here on it pays to wake another thread up for the search of strided sites.
constexpr int64_t SHARED_SITES = 65536;

// Marks the output sites of some input sites; see mmptq_sites_reach.
template <class Mark>
void reach(const Sites &out, const Sites &in, const int64_t *kernel, const int32_t *const *targets,
           int64_t first, int64_t last, const Mark &mark_cell) {
    for (int64_t i = first; i < last; i++) {
        const int32_t *c = in.coords + i * 4;
        const int32_t *zs = targets[0] + c[1] * kernel[0], *ys = targets[1] + c[2] * kernel[1],
                      *xs = targets[2] + c[3] * kernel[2];
        for (int64_t z = 0; z < kernel[0] && zs[z] >= 0; z++) {
            for (int64_t y = 0; y < kernel[1] && ys[y] >= 0; y++) {
                const int64_t line = cell_of(out, c[0], zs[z], ys[y], 0);
                for (int64_t x = 0; x < kernel[2] && xs[x] >= 0; x++) mark_cell(line + xs[x]);
            }
        }
    }
}

}  // namespace

extern "C" {

// Name of an instruction set, slowest first; null behind the last one.
const char *mmptq_name(int number) {
    static const char *const NAMES[] = {"plain", "sse2", "avx2", "avx_vnni", "avx512_vnni"};
    return number < 5 ? NAMES[number] : nullptr;
}

// 0: not on this processor, or the compiler did not know it.
int mmptq_supported(int number) { return has(number) && kernels(number) != nullptr; }

// Whether uint8 features stay bytes; if not, they are stored as int16.
int mmptq_byte_groups(int number) { return kernels(number)->byte_groups; }

// Whether the int16 weights of an output channel lie side by side.
int mmptq_by_channel(int number) { return kernels(number)->by_channel; }

// Output channels that are computed together.
int64_t mmptq_block(int number, int64_t channels) { return kernels(number)->block(channels); }

Sites *mmptq_sites_new(const int64_t *shape) {
    Sites *s = new Sites{};
    std::copy(shape, shape + 4, s->shape);
    s->num_words = (shape[0] * shape[1] * shape[2] * shape[3] + 63) / 64;
    s->words = static_cast<Word *>(std::calloc(s->num_words + 1, sizeof(Word)));
    s->occupied = static_cast<uint64_t *>(std::calloc(s->num_words / 64 + 2, sizeof(uint64_t)));
    if (!s->words || !s->occupied) {
        std::free(s->words);
        std::free(s->occupied);
        delete s;
        return nullptr;
    }
    return s;
}

void mmptq_sites_free(Sites *s) {
    std::free(s->words);
    std::free(s->occupied);
    std::free(s->coords);
    delete s;
}

// Takes the sites of a scan. Returns -1, or the first row whose coordinates are outside of the
// grid, or, plus `count`, the first one whose cell came before.
int64_t mmptq_sites_fill(Sites *s, const int32_t *coords, int64_t count, int32_t *rows) {
    clear(*s);
    int64_t bad = -1;
    for (int64_t i = 0; i < count && bad < 0; i++) {
        const int32_t *c = coords + i * 4;
        for (int axis = 0; axis < 4; axis++) {
            if (c[axis] < 0 || c[axis] >= s->shape[axis]) bad = i;
        }
        if (bad < 0 && mark(*s, cell_of(*s, c[0], c[1], c[2], c[3]))) bad = count + i;
    }
    if (bad >= 0) {
        clear(*s);
        return bad;
    }
    number(*s);
    for (int64_t i = 0; i < count; i++) {
        const int32_t *c = coords + i * 4;
        rows[i] = static_cast<int32_t>(row_of(*s, cell_of(*s, c[0], c[1], c[2], c[3])));
    }
    return -1;
}

int64_t mmptq_sites_count(const Sites *s) { return s->count; }

void mmptq_sites_coords(const Sites *s, int32_t *coords) {
    std::copy(s->coords, s->coords + s->count * 4, coords);
}

// Output sites of a strided convolution: all that see an active site. `targets` gives for an input
// coordinate of each axis the output coordinates: (extent, kernel), filled up with -1.
void mmptq_sites_reach(Sites *out, const Sites *in, const int64_t *kernel,
                       const int32_t *const *targets, int threads) {
    clear(*out);
    if (threads <= 1 || in->count < SHARED_SITES) {
        reach(*out, *in, kernel, targets, 0, in->count, [&](int64_t cell) { mark(*out, cell); });
    } else {
        pool().run(threads, (in->count + ROWS - 1) / ROWS, [&](int64_t job) {
            const int64_t last = std::min(in->count, (job + 1) * ROWS);
            reach(*out, *in, kernel, targets, job * ROWS, last,
                  [&](int64_t cell) { mark_together(*out, cell); });
        });
    }
    number(*out);
}

Lists *mmptq_lists_new() { return new Lists{}; }

void mmptq_lists_free(Lists *lists) {
    std::free(lists->starts);
    std::free(lists->rows);
    std::free(lists->places);
    delete lists;
}

// Returns the number of pairs, or -1 where the memory does not suffice.
int64_t mmptq_lists_build(int isa, Lists *lists, const Geometry *geometry, const Sites *out,
                          const Sites *in, int threads) {
    const int64_t offsets = geometry->kernel[0] * geometry->kernel[1] * geometry->kernel[2];
    const int64_t tiles = (out->count + TILE - 1) / TILE;
    if (tiles > lists->tiles || offsets != lists->offsets) {
        std::free(lists->starts);
        std::free(lists->rows);
        std::free(lists->places);
        lists->tiles = tiles + tiles / 4;
        lists->offsets = offsets;
        lists->tile_capacity = offsets * TILE + 16;  // a lookup without success writes too
        const int64_t pairs = lists->tiles * lists->tile_capacity;
        lists->starts =
            static_cast<int32_t *>(std::malloc(lists->tiles * (offsets + 1) * sizeof(int32_t) + 1));
        lists->rows = static_cast<int32_t *>(std::malloc(pairs * sizeof(int32_t) + 1));
        lists->places = static_cast<uint8_t *>(std::malloc(pairs + 1));
        if (!lists->starts || !lists->rows || !lists->places) {
            lists->tiles = 0;
            return -1;
        }
    }
    lists->sites = out->count;
    const Kernels *functions = kernels(isa);
    pool().run(threads, tiles, [&](int64_t tile) {
        functions->list_tile(*geometry, *out, *in, *lists, tile);
    });
    int64_t pairs = 0;
    for (int64_t tile = 0; tile < tiles; tile++) {
        pairs += lists->starts[tile * (offsets + 1) + offsets];
    }
    return pairs;
}

// The table (offsets, sites) of input rows, -1 where there is none.
void mmptq_lists_table(const Lists *lists, int32_t *table) {
    std::fill(table, table + lists->offsets * lists->sites, -1);
    for (int64_t tile = 0; tile * TILE < lists->sites; tile++) {
        const int32_t *starts = lists->starts + tile * (lists->offsets + 1);
        for (int64_t k = 0; k < lists->offsets; k++) {
            for (int64_t i = starts[k]; i < starts[k + 1]; i++) {
                const int64_t at = tile * lists->tile_capacity + i;
                table[k * lists->sites + tile * TILE + lists->places[at]] = lists->rows[at];
            }
        }
    }
}

void mmptq_convolve(int isa, const Conv *conv, const Lists *lists, int threads) {
    const Kernels *functions = kernels(isa);
    pool().run(threads, (lists->sites + TILE - 1) / TILE,
               [&](int64_t tile) { functions->convolve(*conv, *lists, tile); });
}

void mmptq_quantize(int isa, const Rows *rows, int threads) {
    const Kernels *functions = kernels(isa);
    pool().run(threads, (rows->count + ROWS - 1) / ROWS, [&](int64_t job) {
        functions->quantize(*rows, job * ROWS, std::min(rows->count, (job + 1) * ROWS));
    });
}

}  // extern "C"
