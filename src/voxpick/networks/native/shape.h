// Dense stack of dilated 3x3x3 convolutions, two channels a layer, for processors with AVX-512 or AVX2.
//
// Every layer adds a pair of channels. Pair 0 is the input (its second channel zero when there is one), pair i + 1 is
// layer i. A pair is stored twice:
//   maps:   4 bytes a voxel. bf16: the two channels interleaved (one map a pair), for dot products over channels.
//           float: one map a channel.
//   planar: bf16 only, one plane a channel, for dot products over neighbouring voxels (weight gradients).
// Rows are followed by a gap of zeros that serves as padding on both sides; the buffer begins with one more gap.
#pragma once

#include "team.h"
#include "vector.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <vector>

namespace msdnet {

using namespace native;

constexpr int GAP = 16;         // voxels of zeros after each row of maps; no dilation may exceed it
constexpr int PLANAR_GAP = 32;  // the same in planes of bf16
constexpr int64_t SUMS = 131072;  // floats of the sums of a slab; they should stay in the second-level cache
constexpr int64_t WAITING = 1 << 22;  // floats that may wait for later layers when those are summed in groups of four
constexpr float SLOPE = 0.01f;

struct Shape {
    int64_t batch, z, y, x, depth, classes, inputs, cycle, threads, padded, row, plane_row;
    const int64_t* dilations;
    int64_t pairs() const { return depth + 1; }
    int64_t rows() const { return batch * z * y; }
    int64_t map() const { return apart(rows() * row, 16); }           // 4-byte words of one map
    int64_t plane() const { return apart(rows() * plane_row, 32); }   // bf16 values of one plane
    // So far that the same voxel of several maps does not fall into the same set of a cache; `line` values are 64 bytes.
    static int64_t apart(int64_t size, int64_t line) { return (size + 64 * line - 1) / (64 * line) * 64 * line + 5 * line; }
    int64_t dilation(int64_t layer) const { return dilations[layer % cycle]; }
};

inline Shape shape_of(const int64_t* n) {
    Shape s{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], 0, 0, 0, n + 9};
    s.padded = (s.x + 15) / 16 * 16;
    s.row = s.padded + GAP;
    s.plane_row = (s.x + 31) / 32 * 32 + PLANAR_GAP;
    return s;
}

alignas(64) static const uint32_t ZEROS[4096] = {};

template <bool HALF>
inline Floats multiply_add(Floats sum, Words a, Words b) {
    if constexpr (HALF) return dot(a, b, sum);
    else return fma(a, b, sum);
}

// Ask for large pages before the buffer is first touched: fewer faults and fewer misses of the address cache.
inline void large_pages(void* buffer, int64_t bytes) {
#ifdef __linux__
    const uintptr_t page = 1 << 21, from = (reinterpret_cast<uintptr_t>(buffer) + page - 1) / page * page;
    const uintptr_t to = (reinterpret_cast<uintptr_t>(buffer) + bytes) / page * page;
    if (buffer && to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#endif
}

// Rows y .. y + rows of the planes first, first + step, ... of one volume.
struct Slab {
    int64_t volume, first, step, count, y, rows;
};

// All slabs of a batch, of at most `thick` planes `step` apart and `rows` rows.
inline std::vector<Slab> cut(const Shape& s, int64_t step, int64_t thick, int64_t rows) {
    std::vector<Slab> slabs;
    for (int64_t b = 0; b < s.batch; ++b)
        for (int64_t y = 0; y < s.y; y += rows)
            for (int64_t phase = 0; phase < std::min(step, s.z); ++phase) {
                const int64_t planes = (s.z - phase + step - 1) / step, parts = (planes + thick - 1) / thick;
                for (int64_t part = 0; part < parts; ++part) {
                    const int64_t from = planes * part / parts, to = planes * (part + 1) / parts;
                    slabs.push_back({b, phase + from * step, step, to - from, y, std::min(rows, s.y - y)});
                }
            }
    return slabs;
}

// The lanes from x on that hold voxels.
inline Mask valid(const Shape& s, int64_t x) { return lanes(s.x - x); }

}  // namespace msdnet
