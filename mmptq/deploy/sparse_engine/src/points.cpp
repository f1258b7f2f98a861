// Voxels of a scan. Arguments were checked in Python.
#include "points.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine.hpp"
#include "pool.hpp"

using namespace mmptq;

namespace {

constexpr int64_t VOXELS = 256;  // voxels of a job

void release(Voxels &v) {
    for (void *memory : {static_cast<void *>(v.cells), static_cast<void *>(v.numbers),
                         static_cast<void *>(v.coords), static_cast<void *>(v.points),
                         static_cast<void *>(v.members)}) {
        std::free(memory);
    }
    v = Voxels{};
}

template <class T>
bool allocate(T *&to, int64_t count) {
    to = static_cast<T *>(std::malloc(count * sizeof(T)));
    return to != nullptr;
}

// Room for a scan; false where the memory does not suffice.
bool reserve(Voxels &v, int64_t count, int64_t most_points) {
    if (count <= v.capacity) return true;
    release(v);
    const int64_t capacity = count + count / 4;
    v.table_size = 1024;
    while (v.table_size < 2 * capacity) v.table_size *= 2;
    if (!allocate(v.cells, v.table_size) || !allocate(v.numbers, v.table_size) ||
        !allocate(v.coords, capacity * 3) || !allocate(v.points, capacity) ||
        !allocate(v.members, capacity * most_points)) {
        release(v);
        return false;
    }
    v.capacity = capacity;
    return true;
}

// The voxel of a point, or false outside of the grid and for numbers that are none.
bool locate(const VoxelGrid &g, const float *point, int32_t *coords) {
    for (int axis = 0; axis < 3; axis++) {
        const float place = (point[axis] - g.low[axis]) / g.size[axis];
        if (!(place >= 0.0f && place < static_cast<float>(g.shape[axis]))) return false;
        coords[axis] = static_cast<int32_t>(place);
    }
    return true;
}

// Place of a cell in the table, taken or free.
int64_t find(const Voxels &v, uint32_t key) {
    int64_t at = static_cast<int64_t>(key * uint64_t{0x9E3779B97F4A7C15} >> 32) & (v.table_size - 1);
    while (v.cells[at] && v.cells[at] != key) at = (at + 1) & (v.table_size - 1);
    return at;
}

}  // namespace

extern "C" {

Voxels *mmptq_voxels_new() { return new Voxels{}; }

void mmptq_voxels_free(Voxels *v) {
    release(*v);
    delete v;
}

// Number of voxels of a scan, or -1 where the memory does not suffice.
int64_t mmptq_voxelize(Voxels *v, const VoxelGrid *g, const float *points, int64_t count) {
    const int64_t most = std::max<int64_t>(1, std::min(count, g->most_voxels));
    v->count = 0;
    if (!reserve(*v, most, g->most_points)) return -1;
    std::memset(v->cells, 0, v->table_size * sizeof(uint32_t));
    for (int64_t i = 0; i < count; i++) {
        int32_t c[3];
        if (!locate(*g, points + i * g->columns, c)) continue;
        const int64_t cell = (c[2] * g->shape[1] + c[1]) * g->shape[0] + c[0];
        const uint32_t key = static_cast<uint32_t>(cell + 1);
        const int64_t at = find(*v, key);
        if (!v->cells[at]) {
            if (v->count >= most) continue;
            v->cells[at] = key;
            v->numbers[at] = static_cast<int32_t>(v->count);
            std::copy(c, c + 3, v->coords + v->count * 3);
            v->points[v->count++] = 0;
        }
        const int64_t voxel = v->numbers[at];
        if (v->points[voxel] >= g->most_points) continue;
        v->members[voxel * g->most_points + v->points[voxel]++] = static_cast<int32_t>(i);
    }
    return v->count;
}

// Rows of (batch, z, y, x).
void mmptq_voxels_coords(const Voxels *v, int32_t batch, int32_t *coords) {
    for (int64_t i = 0; i < v->count; i++, coords += 4) {
        coords[0] = batch;
        for (int axis = 0; axis < 3; axis++) coords[1 + axis] = v->coords[i * 3 + 2 - axis];
    }
}

// Mean of the first columns of the points of each voxel: (voxels, channels).
void mmptq_point_means(const Voxels *v, const VoxelGrid *g, const float *points, int64_t channels,
                       float *means) {
    for (int64_t i = 0; i < v->count; i++, means += channels) {
        const int32_t *members = v->members + i * g->most_points;
        std::fill(means, means + channels, 0.0f);
        for (int32_t k = 0; k < v->points[i]; k++) {
            const float *point = points + members[k] * g->columns;
            for (int64_t o = 0; o < channels; o++) means[o] += point[o];
        }
        for (int64_t o = 0; o < channels; o++) means[o] /= static_cast<float>(v->points[i]);
    }
}

// Features of each voxel by a pillar encoder: (voxels, outputs of its last layer).
void mmptq_pillar_features(int isa, const Voxels *v, const VoxelGrid *g, const PillarEncoder *e,
                           const float *points, float *features, int threads) {
    const Kernels *functions = kernels(isa);
    pool().run(threads, (v->count + VOXELS - 1) / VOXELS, [&](int64_t job) {
        functions->encode_pillars(*v, *g, *e, points, features, job * VOXELS,
                                  std::min(v->count, (job + 1) * VOXELS));
    });
}

}  // extern "C"
