// What the parts of the sparse engine share: sites, neighbour lists, the work of one layer.
#pragma once
#include <cstdint>

#include "points.hpp"

namespace mmptq {

// Sites that are computed together. Their sums stay in the first cache while each weight is used
// for all of them.
constexpr int TILE = 128;
// Widest block of output channels.
constexpr int WIDEST = 64;

// 64 cells of the grid: which are active, and the row of the first active one.
struct Word {
    uint64_t bits;
    uint32_t rank;
    uint32_t unused;
};

// Active sites in the order of their cells (batch, z, y, x).
struct Sites {
    int64_t shape[4];    // batch, z, y, x
    int64_t num_words;   // of the grid
    Word *words;         // one for 64 cells
    uint64_t *occupied;  // one bit for each word
    int64_t count;
    int64_t capacity;
    int32_t *coords;  // (count, 4)
};

// Widest kernel along x whose cells are looked up together.
constexpr int WINDOW = 8;

// Kernel of a layer. Along each axis `source` gives for an offset and an output coordinate the
// input coordinate, or -1.
struct Geometry {
    int64_t kernel[3];
    int32_t *source[3];  // (kernel, output extent)
    int64_t extent[3];   // of the output
    // Where the input cells of an output coordinate lie side by side along x: (output extent,)
    // coordinate of the first offset, which may be outside, and a bit for each offset inside.
    const int32_t *first;
    const int32_t *inside;  // null: one by one
};

// Pairs of an output site and an input row, by tile and kernel offset.
struct Lists {
    int64_t sites;
    int64_t offsets;
    int64_t tiles;
    int64_t tile_capacity;
    int32_t *starts;  // (tiles, offsets + 1), within the tile
    int32_t *rows;    // (tiles, tile_capacity)
    uint8_t *places;  // site within the tile, beside each row
};

// A layer. Rows of features are 32-bit groups: 4 uint8, 2 int16 or 1 float.
struct Conv {
    const int32_t *x;           // (input sites, groups)
    const int32_t *weight;      // (blocks, offsets, groups, block)
    const int32_t *correction;  // (offsets, blocks * block), or null: minus zero point times weights
    const float *scale;         // (channels,)
    const float *bias;          // (channels,)
    const float *residual;      // (sites, channels), or null
    float *y;                   // (sites, channels), or null
    void *q;                    // (sites, q_stride) integers, or null
    int64_t groups;
    int64_t block;
    int64_t channels;
    int64_t q_stride;
    int32_t kind;  // 0: uint8, 1: int16, 2: float
    int32_t relu;
    int32_t q_bytes;  // 1: uint8, 2: int16
    int32_t q_zero;
    float q_inverse;  // 1 / scale
    float q_low;      // lowest and highest integer, minus the zero point
    float q_high;
};

// Rows of features from floats.
struct Rows {
    const float *x;       // (count, channels)
    const int32_t *rows;  // row of the output of each row of x, or null: the same
    void *q;
    int64_t count;
    int64_t channels;
    int64_t stride;  // of q, in values
    int32_t kind;
    int32_t zero;
    float inverse;
    float low;
    float high;
};

// What is compiled once for each instruction set.
struct Kernels {
    const char *name;
    int32_t byte_groups;  // whether uint8 features are computed as they are, or widened to int16
    int32_t by_channel;   // whether int16 weights of an output channel lie side by side
    void (*convolve)(const Conv &, const Lists &, int64_t tile);
    void (*list_tile)(const Geometry &, const Sites &out, const Sites &in, Lists &, int64_t tile);
    void (*quantize)(const Rows &, int64_t first, int64_t last);
    void (*encode_pillars)(const Voxels &, const VoxelGrid &, const PillarEncoder &,
                           const float *points, float *features, int64_t first, int64_t last);
    int64_t (*block)(int64_t channels);
};

// Those of an instruction set.
const Kernels *kernels(int number);

extern const Kernels plain_kernels;
#ifdef MMPTQ_X86
extern const Kernels sse2_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#ifdef MMPTQ_AVX_VNNI
extern const Kernels avx_vnni_kernels;
#endif
#endif

}  // namespace mmptq
