// From points to voxels, and the layers that look at the points of a voxel.
#pragma once
#include <cstdint>

namespace mmptq {

// Points are (count, columns) rows of floats that begin with x, y, z.
struct VoxelGrid {
    float size[3];     // of a voxel along x, y, z
    float low[3];      // where the grid begins
    int64_t shape[3];  // voxels along x, y, z
    int64_t columns;
    int64_t most_points;  // of a voxel; later ones are dropped
    int64_t most_voxels;  // of a scan; later ones are dropped
};

// Voxels of a scan in the order in which the scan meets them.
struct Voxels {
    int64_t count;
    int64_t capacity;
    int64_t table_size;
    uint32_t *cells;    // (table size,), cell + 1, or 0 where a place is free
    int32_t *numbers;   // (table size,), voxel beside each cell
    int32_t *coords;    // (capacity, 3): x, y, z
    int32_t *points;    // (capacity,), points of each voxel
    int32_t *members;   // (capacity, most points), rows of the points
};

// A linear layer with a ReLU, on every point of a voxel.
struct PointLayer {
    const float *weight;  // (in, out)
    const float *bias;    // (out,)
    int64_t inputs;
    int64_t outputs;
    float scale;  // of the integers of the input, or 0: floats
    float inverse;
    float low;   // lowest and highest integer, minus the zero point
    float high;
};

// A pillar encoder. Each layer but the last one hands on its outputs beside their maximum.
struct PillarEncoder {
    const PointLayer *layers;
    int64_t num_layers;
    int32_t cluster_center;  // whether offsets from the mean are features
    int32_t voxel_center;    // whether offsets from the centre are features
    int32_t replace_xyz;     // whether these take the place of x, y and z, too
    int32_t distance;        // whether the distance is a feature
    float center_size[3];    // centre of a voxel: coordinate times size plus offset
    float center_offset[3];
};

}  // namespace mmptq
