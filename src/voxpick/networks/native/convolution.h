// Dilated 3x3x3 convolutions of one map into the outputs of one, two or four layers.
#pragma once

#include "shape.h"

namespace msdnet {

// One map convolved into the outputs of T layers, 2 T, over NR rows of NV vectors; `sums` is [2 T][y][padded] with
// stride `other` between outputs, `next` the distance between the weights of two layers.
template <bool HALF, int T, int NR, int NV>
inline void tile(const Shape& s, const uint32_t* map, const uint32_t* weights, int64_t next, int64_t z, int64_t y,
                 int64_t x, int64_t d, float* sums, int64_t other) {
    Floats a[2 * T][NR][NV];
#pragma GCC unroll 8
    for (int o = 0; o < 2 * T; ++o)
        for (int r = 0; r < NR; ++r)
            for (int v = 0; v < NV; ++v) a[o][r][v] = load(sums + o * other + r * s.padded + v * LANES);
    for (int dz = 0; dz < 3; ++dz) {
        const int64_t zz = z + (dz - 1) * d;
        if (zz < 0 || zz >= s.z) continue;
        for (int dy = 0; dy < 3; ++dy) {
            const int64_t first = y + (dy - 1) * d;
            if (first + NR <= 0 || first >= s.y) continue;
            const uint32_t* rows[NR];
            for (int r = 0; r < NR; ++r) {
                const int64_t yy = first + r;
                rows[r] = yy >= 0 && yy < s.y ? map + (zz * s.y + yy) * s.row + x : ZEROS + GAP;
            }
            const uint32_t* w = weights + (dz * 3 + dy) * 6;
#pragma GCC unroll 3
            for (int dx = 0; dx < 3; ++dx) {
                Words k[2 * T];
#pragma GCC unroll 8
                for (int o = 0; o < 2 * T; ++o)
                    k[o] = every(w[o / 2 * next + dx * 2 + o % 2]);
                const int64_t off = (dx - 1) * d;
#pragma GCC unroll 8
                for (int r = 0; r < NR; ++r)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) {
                        const Words value = words(rows[r] + off + v * LANES);
#pragma GCC unroll 8
                        for (int o = 0; o < 2 * T; ++o) a[o][r][v] = multiply_add<HALF>(a[o][r][v], value, k[o]);
                    }
            }
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < 2 * T; ++o)
        for (int r = 0; r < NR; ++r)
            for (int v = 0; v < NV; ++v) put(sums + o * other + r * s.padded + v * LANES, a[o][r][v]);
}

// The slabs of a batch. Planes `step` apart share what a dilation of `step` reads. The sums of a slab, `outputs` of
// them, fit the cache; of such slabs those are taken that read least beyond their own voxels with a dilation of `d`.
inline std::vector<Slab> slabs_of(const Shape& s, int64_t step, int64_t d, int64_t outputs) {
    const int64_t fits = std::max<int64_t>(8, SUMS / (outputs * s.padded));
    const int64_t share = (s.batch * s.z + 4 * s.threads - 1) / (4 * s.threads);
    int64_t thick = 1, rows = s.y;
    double least = 1e30;
    for (int64_t strips = 1; strips <= (s.y + 7) / 8; ++strips) {
        const int64_t high = ((s.y + strips - 1) / strips + 7) / 8 * 8, deep = std::min(share, fits / high);
        if (deep < 1) continue;
        const double cost = (1 + 2.0 / deep) * (high < s.y ? 1 + 2.0 * d / high : 1);
        if (cost < least) least = cost, thick = deep, rows = high;
    }
    return cut(s, step, thick, rows);
}

// Ask for rows from .. to - 1 of a plane, NV vectors from x on, before they are read.
template <int NV>
inline void read_ahead(const Shape& s, const uint32_t* map, int64_t z, int64_t from, int64_t to, int64_t x) {
    if (z < 0 || z >= s.z) return;
    for (int64_t y = std::max<int64_t>(from, 0); y < std::min(to, s.y); ++y)
        for (int v = 0; v < NV * LANES; v += 16)
            _mm_prefetch(reinterpret_cast<const char*>(map + (z * s.y + y) * s.row + x + v), _MM_HINT_T1);
}

// One map of one volume convolved into the outputs of T layers; sums is [plane][2 T][rows rounded to 8][padded].
// `after` comes next, with a dilation of `then`: what will be read of it is asked for along the way, beyond the slab too
// where that is a part of large planes.
template <bool HALF, int T>
void convolve(const Shape& s, const uint32_t* map, const uint32_t* after, const uint32_t* weights, int64_t next,
              int64_t d, int64_t then, const Slab& slab, float* sums) {
    const int64_t other = (slab.rows + 7) / 8 * 8 * s.padded, stop = slab.y + slab.rows;
    const bool large = slab.rows < s.y;
    for (int64_t k = 0; k < slab.count; ++k, sums += 2 * T * other) {
        const int64_t z = slab.first + k * slab.step;
        const bool begins = large && k * slab.step < then, ends = large && (slab.count - 1 - k) * slab.step < then;
        for (int64_t x = 0; x < s.padded;) {
            const int64_t left = s.padded - x;
            float* here = sums + x;
            const auto run = [&]<int NR, int NV>() {
                for (int64_t y = 0, turn = 1; y < slab.rows; y += NR, ++turn) {
                    const auto ask = [&](int64_t plane) {
                        read_ahead<NV>(s, after, plane, slab.y + y, std::min(slab.y + y + NR, stop), x);
                        if (!large || turn > then) return;
                        read_ahead<NV>(s, after, plane, slab.y - turn, slab.y - turn + 1, x);
                        read_ahead<NV>(s, after, plane, stop + turn - 1, stop + turn, x);
                    };
                    ask(z);
                    if (begins) ask(z - then);
                    if (ends) ask(z + then);
                    tile<HALF, T, NR, NV>(s, map, weights, next, z, slab.y + y, x, d, here + y * s.padded, other);
                }
                x += NV * LANES;
            };
            // As many sums as there are registers for: 16 of 32 with AVX-512, 8 of 16 with AVX2.
            if constexpr (LANES == 8) {
                if constexpr (T == 4) run.template operator()<1, 1>();
                else if (left >= 32 || T == 2) run.template operator()<1, 4 / T>();
                else run.template operator()<2, 2>();
            } else if constexpr (T == 4) {
                if (left >= 32) run.template operator()<1, 2>();
                else run.template operator()<2, 1>();
            } else {
                if (left >= 64) run.template operator()<2 / T, 4>();
                else if (left >= 32) run.template operator()<4 / T, 2>();
                else run.template operator()<8 / T, 1>();
            }
        }
    }
}

}  // namespace msdnet
