// The forward pass.
#pragma once

#include <cstring>
#include <memory>

#include "convolution.h"
#include "tiles.h"

namespace msdnet {

template <bool HALF>
struct Engine {
    Shape s;
    static constexpr int64_t PER = HALF ? 1 : 2;  // maps a pair
    static constexpr int64_t TAPS = 54;           // words of weights of one map: 27 taps, 2 outputs
    static constexpr int64_t AHEAD = OUTPUTS / 2;  // cycles of layers that are summed for at a time

    // Whether matrix tiles compute what other blocks of layers add.
    static bool tiled() { return HALF && has_tiles(); }

    int64_t cycles() const { return (s.depth + s.cycle - 1) / s.cycle; }

    // Cycles of layers that are summed for at a time, where tiles do it.
    int64_t ahead() const { return std::min(AHEAD, cycles()); }

    // Layers are summed for in groups of four, where those are many and what waits is little.
    bool in_fours() const { return LANES == 16 && 3 * s.cycle * s.rows() * 2 * s.padded <= WAITING; }

    // Floats of the sums that wait for later layers.
    int64_t waiting() const {
        return s.cycle * s.rows() * 2 * s.padded * (tiled() ? ahead() : in_fours() ? 3 : 1);
    }

    const uint32_t* map(const uint32_t* maps, int64_t pair, int64_t part = 0) const {
        return maps + GAP + (pair * PER + part) * s.map();
    }
    uint16_t* plane(uint16_t* planes, int64_t pair, int64_t channel) const {
        return planes + PLANAR_GAP + (pair * 2 + channel) * s.plane();
    }

    // Store one row of both channels (read by f(x, channel)) into a pair, with its gap.
    template <class F>
    void store(uint32_t* maps, uint16_t* planes, int64_t pair, int64_t r, F f) const {
        for (int64_t x = 0; x < s.padded; x += LANES) {
            const Mask m = valid(s, x);
            const Floats a = only(m, f(x, 0)), b = only(m, f(x, 1));
            uint32_t* to = const_cast<uint32_t*>(map(maps, pair)) + r * s.row + x;
            if constexpr (HALF) {
                const int64_t at = r * s.plane_row + x;
                uint16_t* first = planes ? plane(planes, pair, 0) + at : nullptr;
                put_pairs(to, first, planes ? plane(planes, pair, 1) + at : nullptr, a, b);
            } else {
                put_any(to, a);
                put_any(to + s.map(), b);
            }
        }
        for (int64_t part = 0; part < PER; ++part) {
            uint32_t* row = const_cast<uint32_t*>(map(maps, pair, part)) + r * s.row;
            std::memset(row + s.padded, 0, GAP * 4);
            if (r == 0) std::memset(row - GAP, 0, GAP * 4);  // pairs need not be written in order
        }
        if (HALF && planes)
            for (int c = 0; c < 2; ++c) {
                uint16_t* row = plane(planes, pair, c) + r * s.plane_row;
                std::memset(row + s.padded, 0, (s.plane_row - s.padded) * 2);
                if (r == 0) std::memset(row - PLANAR_GAP, 0, PLANAR_GAP * 2);
            }
    }

    // Both channels of a pair at a vector of voxels, as float.
    void read(const uint32_t* maps, int64_t pair, int64_t r, int64_t x, Floats& a, Floats& b) const {
        const uint32_t* from = map(maps, pair) + r * s.row + x;
        if constexpr (HALF) take_pairs(from, a, b);
        else a = load_any(from), b = load_any(from + s.map());
    }

    struct Source {
        const uint32_t* map;
        const uint32_t* weights;
        int64_t dilation;
    };

    // Sums of convolutions for T layers, slab by slab: init(row, sums, other) fills, the sources are added,
    // finish(row, sums, other) takes. `next`: distance between the weights of two layers.
    template <int T, class Init, class Finish>
    void pull(Team& team, const std::vector<Source>& sources, int64_t next, int64_t step, Init init,
              Finish finish) const {
        int64_t farthest = 1;
        for (const Source& source : sources) farthest = std::max(farthest, source.dilation);
        const std::vector<Slab> slabs = slabs_of(s, step, farthest, 2 * T);
        team.each(static_cast<int64_t>(slabs.size()), [&](int64_t unit) {
            static thread_local std::vector<float> storage;
            const Slab& slab = slabs[unit];
            const int64_t other = (slab.rows + 7) / 8 * 8 * s.padded;
            storage.resize(std::max<size_t>(storage.size(), slab.count * 2 * T * other + 16));
            float* sums = storage.data();
            sums += (64 - reinterpret_cast<uintptr_t>(sums) % 64) % 64 / 4;
            const auto rows = [&](auto f) {
                for (int64_t k = 0; k < slab.count; ++k)
                    for (int64_t y = 0; y < slab.rows; ++y)
                        f((slab.volume * s.z + slab.first + k * slab.step) * s.y + slab.y + y,
                          sums + k * 2 * T * other + y * s.padded, other);
            };
            const int64_t volume = slab.volume * s.z * s.y * s.row;
            rows(init);
            for (size_t n = 0; n < sources.size(); ++n) {
                const Source &now = sources[n], &after = sources[std::min(n + 1, sources.size() - 1)];
                convolve<HALF, T>(s, now.map + volume, after.map + volume, now.weights, next, now.dilation,
                                  after.dilation, slab, sums);
            }
            rows(finish);
        });
    }

    void forward(const float* x, const uint32_t* weights, const float* bias, const float* out_weight,
                 const float* out_bias, uint32_t* maps, uint16_t* planes, float* sums, float* logits) const {
        Team team(s.threads);
        large_pages(sums, waiting() * 4);
        large_pages(maps, s.pairs() * PER * s.map() * 4);
        large_pages(planes, s.pairs() * 2 * s.plane() * 2);
        const int64_t volume = s.z * s.y * s.x;
        const int64_t per_plane = s.y;
        team.each(s.batch * s.z, [&](int64_t unit) {
            for (int64_t r = unit * per_plane; r < (unit + 1) * per_plane; ++r) {
                const int64_t b = r / (s.z * s.y), in = r % (s.z * s.y) * s.x;
                store(maps, planes, 0, r, [&](int64_t at, int c) {
                    if (c >= s.inputs) return every(0.0f);
                    return load_some(valid(s, at), x + (b * s.inputs + c) * volume + in + at);
                });
            }
        });
        if (tiled()) layers_by_tiles(team, weights, bias, maps, planes, sums);
        else layers(team, weights, bias, maps, planes, sums);
        team.each(s.batch * s.z, [&](int64_t unit) {
            for (int64_t r = unit * per_plane; r < (unit + 1) * per_plane; ++r) score(maps, out_weight, out_bias, logits, r);
        });
    }

    // All layers. Layers one cycle apart have the same dilation, so a layer may also sum for its successors all that it
    // reads itself; their partial sums wait until the rest has been computed. In groups of two the first sums for both.
    // In groups of four, which read less and keep more, the first sums for all, the third for itself and the fourth.
    void layers(Team& team, const uint32_t* weights, const float* bias, uint32_t* maps, uint16_t* planes,
                float* partial) const {
        const int64_t words = s.pairs() * PER * TAPS, row = 2 * s.padded, one = s.cycle * s.rows() * row;
        const bool small = in_fours();  // AVX2 has registers for the outputs of two layers
        std::vector<Source> sources;
        for (int64_t i = 0; i < s.depth; ++i) {
            const int64_t block = i / s.cycle, position = i % s.cycle;
            const bool four = small && (block / 4 * 4 + 3) * s.cycle + position < s.depth;
            const int64_t turn = block % (four ? 4 : 2);
            const bool last = i + s.cycle >= s.depth;
            const int64_t count = four ? (turn == 0 ? 4 : turn == 2 ? 2 : 1) : (turn == 0 && !last ? 2 : 1);
            const auto waiting = [&](int64_t whose) {
                return partial + (whose - 1) * one + position * s.rows() * row;
            };
            sources.clear();
            for (int64_t p = turn ? i - (turn == 2 ? 2 : 1) * s.cycle + 1 : 0; p <= i; ++p)
                for (int64_t part = 0; part < PER; ++part)
                    sources.push_back(
                        {map(maps, p, part), weights + i * words + (p * PER + part) * TAPS, s.dilation(i)});
            const auto init = [&](int64_t r, float* sums, int64_t other) {
                for (int64_t c = 0; c < 2 * count; ++c) {
                    float* to = sums + c * other;
                    if (turn) std::memcpy(to, waiting(turn + c / 2) + r * row + c % 2 * s.padded, s.padded * 4);
                    else std::fill(to, to + s.padded, bias[(i + c / 2 * s.cycle) * 2 + c % 2]);
                }
            };
            const auto finish = [&](int64_t r, const float* sums, int64_t other) {
                activate(maps, planes, i + 1, r, sums, other);
                for (int64_t c = 2; c < 2 * count; ++c)
                    std::memcpy(waiting(turn + c / 2) + r * row + c % 2 * s.padded, sums + c * other, s.padded * 4);
            };
            if (count == 4) pull<4>(team, sources, s.cycle * words, s.dilation(i), init, finish);
            else if (count == 2) pull<2>(team, sources, s.cycle * words, s.dilation(i), init, finish);
            else pull<1>(team, sources, 0, s.dilation(i), init, finish);
        }
    }

    void activate(uint32_t* maps, uint16_t* planes, int64_t pair, int64_t r, const float* sums, int64_t other) const {
        store(maps, planes, pair, r, [&](int64_t at, int c) {
            const Floats v = load_any(sums + c * other + at);
            return larger(v, times(v, every(SLOPE)));
        });
    }

    // All layers, block by block, a block being one cycle of dilations. When a group of blocks begins, tiles sum for all
    // its layers what they read of earlier groups; after a block, what the rest of the group reads of it. Layers of one
    // dilation are the rows of a tile. What a layer reads in its own block is summed as elsewhere.
    void layers_by_tiles(Team& team, const uint32_t* weights, const float* bias, uint32_t* maps, uint16_t* planes,
                         float* sums) const {
        const int64_t row = 2 * ahead() * s.padded;
        std::vector<Source> sources;
        for (int64_t group = 0; group < s.depth; group += ahead() * s.cycle) {
            const int64_t end = std::min(s.depth, group + ahead() * s.cycle);
            if (group) push(team, weights, bias, maps, sums, 0, group + 1, group, group, end, true);
            for (int64_t block = group; block < end; block += s.cycle) {
                const int64_t stop = std::min(block + s.cycle, end), own = block ? block + 1 : 0;
                for (int64_t i = block; i < stop; ++i) {
                    sources.clear();
                    for (int64_t p = own; p <= i; ++p)
                        sources.push_back(
                            {map(maps, p), weights + (i * s.pairs() + p) * TAPS, s.dilation(i)});
                    const float* waiting = sums + (i - block) * s.rows() * row + (block - group) / s.cycle * 2 * s.padded;
                    const auto init = [&](int64_t r, float* to, int64_t other) {
                        for (int64_t c = 0; c < 2; ++c)
                            if (block) std::memcpy(to + c * other, waiting + r * row + c * s.padded, s.padded * 4);
                            else std::fill(to + c * other, to + c * other + s.padded, bias[i * 2 + c]);
                    };
                    const auto finish = [&](int64_t r, const float* from, int64_t other) {
                        activate(maps, planes, i + 1, r, from, other);
                    };
                    pull<1>(team, sources, 0, s.dilation(i), init, finish);
                }
                push(team, weights, bias, maps, sums, own, stop + 1, group, stop, end, block == 0);
            }
        }
    }

    // Pairs from `first` up to `last`, without it, summed for the layers `from` .. `to` - 1 of the group.
    void push(Team& team, const uint32_t* weights, const float* bias, const uint32_t* maps, float* sums, int64_t first,
              int64_t last, int64_t group, int64_t from, int64_t to, bool fresh) const {
        for (int64_t layer = from; layer < std::min(from + s.cycle, to); ++layer) {
            const int64_t outputs = (to - layer + s.cycle - 1) / s.cycle * 2;
            std::vector<float> start(outputs);
            for (int64_t o = 0; o < outputs; ++o) start[o] = bias[(layer + o / 2 * s.cycle) * 2 + o % 2];
            const int64_t parts = (last - first + SIDE - 1) / SIDE;
            for (int64_t part = 0; part < parts; ++part) {
                const int64_t p = first + (last - first) * part / parts;
                const int64_t count = first + (last - first) * (part + 1) / parts - p;
                const auto packed = tile_weights(outputs, count, [&](int64_t o, int64_t k) {
                    return weights + ((layer + o / 2 * s.cycle) * s.pairs() + p + k) * TAPS + o % 2;
                });
                float* where = sums + (layer - group) % s.cycle * s.rows() * 2 * ahead() * s.padded;
                spread(team, s, {map(maps, p), s.map(), count, s.dilation(layer), packed.data(), outputs,
                                 where + (layer - group) / s.cycle * 2 * s.padded, 2 * ahead() * s.padded,
                                 fresh && !part ? start.data() : nullptr});
            }
        }
    }

    // One row of all logits.
    void score(const uint32_t* maps, const float* weight, const float* bias, float* logits, int64_t r) const {
        const int64_t b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x, volume = s.z * s.y * s.x;
        for (int64_t k0 = 0; k0 < s.classes; k0 += 8) {
            const int64_t count = std::min<int64_t>(8, s.classes - k0);
            for (int64_t x = 0; x < s.x; x += LANES) {
                Floats sum[8];
                for (int64_t k = 0; k < count; ++k) sum[k] = every(bias[k0 + k]);
                for (int64_t p = 0; p < s.pairs(); ++p) {
                    Floats u, v;
                    read(maps, p, r, x, u, v);
                    for (int64_t k = 0; k < count; ++k) {
                        const float* w = weight + ((k0 + k) * s.pairs() + p) * 2;
                        sum[k] = fma(v, every(w[1]), fma(u, every(w[0]), sum[k]));
                    }
                }
                for (int64_t k = 0; k < count; ++k)
                    put_some(logits + (b * s.classes + k0 + k) * volume + at + x, valid(s, x), sum[k]);
            }
        }
    }

};

}  // namespace msdnet
