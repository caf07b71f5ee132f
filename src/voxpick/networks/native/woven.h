// Gradients of the weights by matrix tiles: gradients of maps woven into the order that the second factor of a tile has.
#pragma once

#include "engine.h"

namespace msdnet {

template <bool HALF>
struct Woven : Engine<HALF> {
    using Base = Engine<HALF>;
    using Base::cycles, Base::plane, Base::s;

    // Gradients as second factors of tiles: [dilation][eight layers of it][row][32 voxels][16 pairs of voxels][16 channels].
    int64_t woven_row() const { return (s.plane_row - PLANAR_GAP) / 2 * SIDE; }  // words
    int64_t eights() const { return (cycles() + 7) / 8; }
    int64_t woven() const { return s.cycle * eights() * s.rows() * woven_row() * 2; }
    uint32_t* woven_at(uint16_t* woven, int64_t position, int64_t eight, int64_t r) const {
        return reinterpret_cast<uint32_t*>(woven) + ((position * eights() + eight) * s.rows() + r) * woven_row();
    }

    // A row of the gradients of a layer, brought into that order.
    void weave(const uint32_t* from, int64_t layer, int64_t r, uint16_t* woven) const {
        const int64_t turn = layer / s.cycle, pairs = (s.plane_row - PLANAR_GAP) / 2;
        uint32_t* to = woven_at(woven, layer % s.cycle, turn / 8, r) + turn % 8 * 2;
        for (int64_t x = 0; x < pairs; ++x, to += SIDE) {
            const uint32_t a = from[2 * x], b = from[2 * x + 1];
            to[0] = (a & 0xffffu) | b << 16;
            to[1] = a >> 16 | (b & 0xffff0000u);
        }
    }

    // Gradients of all kernels: the planes of eight pairs, shifted, times the woven gradients of eight layers.
    void weight_gradients_by_tiles(Team& team, uint16_t* planes, uint16_t* woven, float* out) const {
        struct Job {
            int64_t pair, position, eight;
        };
        std::vector<Job> jobs;
        const int64_t each = s.pairs() < 16 ? 8 : 16;  // pairs of a job; the last may begin earlier and compute some twice
        for (int64_t position = 0; position < std::min(s.cycle, s.depth); ++position)
            for (int64_t eight = 0; eight < eights(); ++eight) {
                const int64_t first = eight * 8 * s.cycle + position;
                if (first >= s.depth) continue;
                const int64_t last = first + std::min<int64_t>(7, (s.depth - 1 - first) / s.cycle) * s.cycle;
                for (int64_t p = 0; p <= last; p += each) jobs.push_back({p, position, eight});
            }
        team.each(static_cast<int64_t>(jobs.size()), [&](int64_t n) {
            const Job& job = jobs[n];
            const int64_t first = job.eight * 8 * s.cycle + job.position, d = s.dilation(first);
            const int64_t begin = std::min(job.pair, std::max<int64_t>(0, s.pairs() - each));
            // 27 taps of sums: of channel c of sixteen pairs and channel o of eight layers.
            std::vector<float> storage(27 * 2 * SIDE * SIDE + 16, 0.0f);
            float* sums = storage.data();
            sums += (64 - reinterpret_cast<uintptr_t>(sums) % 64) % 64 / 4;
            if (each == 16) sum_products<2>(planes, woven, begin, job.position, job.eight, d, sums);
            else sum_products<1>(planes, woven, begin, job.position, job.eight, d, sums);
            for (int64_t tap = 0; tap < 27; ++tap)
                for (int64_t c = 2 * (job.pair - begin); c < std::min(each, s.pairs() - begin) * 2; ++c)
                    for (int64_t o = 0; o < 16; ++o) {
                        const int64_t layer = first + o / 2 * s.cycle;
                        if (layer >= s.depth) continue;
                        out[((layer * 2 + o % 2) * s.pairs() * 2 + begin * 2 + c) * 27 + tap] =
                            sums[(tap * 2 * SIDE + c) * SIDE + o];
                    }
        });
    }

    // sums[27][32][16]: of the channels of 8 A pairs from `pair` on and of eight layers, over all voxels.
    template <int A>
    void sum_products(uint16_t* planes, uint16_t* woven, int64_t pair, int64_t position, int64_t eight, int64_t d,
                      float* sums) const {
#ifdef __AMX_BF16__
        const int64_t m = std::min<int64_t>(SIDE, (s.pairs() - pair) * 2);
        const TileShapes shapes({{m, SIDE}, {m, SIDE}, {m, SIDE}, {m, SIDE}, {m, SIDE}, {m, SIDE}, {m, SIDE}, {SIDE, SIDE}});
        const uint16_t* from[2] = {plane(planes, pair, 0), A == 2 ? plane(planes, pair + 8, 0) : nullptr};
        // The rows of so many channels, and of the layers, that the second-level cache holds for three planes.
        const int64_t chunk = std::max<int64_t>(8, (1 << 19) / (3 * 16 * A * s.plane_row) - 2 * d);
        for (int64_t b = 0; b < s.batch; ++b)
            for (int64_t y0 = 0; y0 < s.y; y0 += chunk)
                for (int64_t phase = 0; phase < std::min(d, s.z); ++phase)
                    for (int64_t z = phase; z < s.z; z += d)
                        for (int tap = 0; tap < 9; ++tap) {
                            const int64_t zz = z + (tap / 3 - 1) * d, dy = (tap % 3 - 1) * d;
                            if (zz < 0 || zz >= s.z) continue;
                            const int64_t begin = std::max(y0, -dy), end = std::min({y0 + chunk, s.y, s.y - dy});
                            if (begin >= end) continue;
                            unrolled<3 * A>([&](auto c) {
                                tile_load<c>(sums + ((tap * 3 + c % 3) * 2 + c / 3) * SIDE * SIDE, 64);
                            });
                            for (int64_t y = begin; y < end; ++y) {
                                const uint32_t* mine = woven_at(woven, position, eight, (b * s.z + z) * s.y + y);
                                const int64_t theirs = ((b * s.z + zz) * s.y + y + dy) * s.plane_row;
                                for (int64_t x = 0; x < s.x; x += 32) {
                                    tile_load<7>(mine + x / 2 * SIDE, 64);
                                    unrolled<3 * A>([&](auto c) {
                                        tile_load<6>(from[c / 3] + theirs + x + (c % 3 - 1) * d, s.plane() * 2);
                                        tile_multiply<c, 6, 7>();
                                    });
                                }
                            }
                            unrolled<3 * A>([&](auto c) {
                                tile_store<c>(sums + ((tap * 3 + c % 3) * 2 + c / 3) * SIDE * SIDE, 64);
                            });
                        }
#endif
    }
};

}  // namespace msdnet
