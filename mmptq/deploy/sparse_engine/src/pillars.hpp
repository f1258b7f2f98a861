// A pillar encoder for one instruction set; see kernels.hpp.
#pragma once
#include <cmath>
#include <cstring>

#include "points.hpp"

namespace mmptq {
namespace {

// Adding 1.5 * 2^23 leaves no fraction: ties go to the even integer.
constexpr float MAGIC = 12582912.0f;
constexpr int32_t MAGIC_BITS = 0x4b400000;

constexpr int64_t WIDEST_POINT = 256;  // features of a point
constexpr int64_t MOST_POINTS = 128;   // points of a pillar

// Features of a point, before the first layer.
inline void decorate(const PillarEncoder &e, const float *point, int64_t columns,
                     const float *mean, const float *center, float *x) {
    const float *first = x;
    for (int64_t o = 0; o < columns; o++) *x++ = point[o];
    if (e.replace_xyz) {
        for (int axis = 0; axis < 3; axis++) x[axis - columns] = point[axis] - center[axis];
    }
    for (int axis = 0; e.cluster_center && axis < 3; axis++) *x++ = point[axis] - mean[axis];
    for (int axis = 0; e.voxel_center && axis < 3; axis++) *x++ = point[axis] - center[axis];
    if (e.distance) {
        *x++ = std::sqrt(first[0] * first[0] + first[1] * first[1] + first[2] * first[2]);
    }
}

// All points of a pillar; without points, zeros. Returns the number of rows.
inline int gather_points(const Voxels &v, const VoxelGrid &g, const PillarEncoder &e,
                         const float *points, int64_t voxel, float *rows) {
    const int count = v.points[voxel];
    const int32_t *members = v.members + voxel * g.most_points;
    float mean[3] = {}, center[3];
    for (int axis = 0; axis < 3; axis++) {
        for (int k = 0; k < count; k++) mean[axis] += points[members[k] * g.columns + axis];
        mean[axis] /= static_cast<float>(count);
        center[axis] = static_cast<float>(v.coords[voxel * 3 + axis]) * e.center_size[axis];
        center[axis] += e.center_offset[axis];
    }
    for (int k = 0; k < count; k++) {
        const float *point = points + members[k] * g.columns;
        decorate(e, point, g.columns, mean, center, rows + k * WIDEST_POINT);
    }
    if (count == g.most_points) return count;
    // Places without a point have features of 0, and are looked at like points.
    std::memset(rows + count * WIDEST_POINT, 0, e.layers[0].inputs * sizeof(float));
    return count + 1;
}

inline void round_inputs(const PointLayer &layer, float *x) {
    for (int64_t i = 0; i < layer.inputs; i++) {
        float value = x[i] * layer.inverse;
        value = value > layer.low ? value : layer.low;
        value = value < layer.high ? value : layer.high;
        value = (value + MAGIC) - MAGIC;
        x[i] = value * layer.scale;
    }
}

inline void apply(const PointLayer &layer, const float *x, float *__restrict y) {
    std::memcpy(y, layer.bias, layer.outputs * sizeof(float));
    for (int64_t i = 0; i < layer.inputs; i++) {
        const float *w = layer.weight + i * layer.outputs;
        const float value = x[i];
        for (int64_t o = 0; o < layer.outputs; o++) y[o] += value * w[o];
    }
    for (int64_t o = 0; o < layer.outputs; o++) y[o] = y[o] > 0.0f ? y[o] : 0.0f;
}

inline void encode_pillar(const PillarEncoder &e, float *rows, int count, float *features) {
    alignas(64) float outputs[WIDEST_POINT];
    float highest[WIDEST_POINT];
    for (int64_t n = 0; n < e.num_layers; n++) {
        const PointLayer &layer = e.layers[n];
        const size_t bytes = layer.outputs * sizeof(float);
        for (int k = 0; k < count; k++) {
            float *row = rows + k * WIDEST_POINT;
            if (layer.scale > 0.0f) round_inputs(layer, row);
            apply(layer, row, outputs);
            if (k == 0) std::memcpy(highest, outputs, bytes);
            for (int64_t o = 0; o < layer.outputs; o++) {
                highest[o] = outputs[o] > highest[o] ? outputs[o] : highest[o];
            }
            std::memcpy(row, outputs, bytes);
        }
        for (int k = 0; n + 1 < e.num_layers && k < count; k++) {
            std::memcpy(rows + k * WIDEST_POINT + layer.outputs, highest, bytes);
        }
        if (n + 1 == e.num_layers) std::memcpy(features, highest, bytes);
    }
}

void encode_pillars(const Voxels &v, const VoxelGrid &g, const PillarEncoder &e,
                    const float *points, float *features, int64_t first, int64_t last) {
    alignas(64) float rows[(MOST_POINTS + 1) * WIDEST_POINT];
    const int64_t channels = e.layers[e.num_layers - 1].outputs;
    for (int64_t voxel = first; voxel < last; voxel++) {
        const int count = gather_points(v, g, e, points, voxel, rows);
        encode_pillar(e, rows, count, features + voxel * channels);
    }
}

}  // namespace
}  // namespace mmptq
