// The backward pass.
#pragma once

#include "woven.h"

namespace msdnet {

template <bool HALF>
struct Gradients : Woven<HALF> {
    using Base = Woven<HALF>;
    using Source = typename Base::Source;
    using Base::map, Base::PER, Base::plane, Base::read, Base::s, Base::store, Base::TAPS, Base::tiled;

    static constexpr int64_t BLOCK = OUTPUTS / 2;  // pairs whose gradients are summed for at a time

    // Floats of the sums that wait for earlier pairs.
    int64_t waiting() const { return s.rows() * (tiled() ? OUTPUTS : 2) * s.padded; }

    void backward(const float* grad, const uint32_t* weights, const float* out_weight, const uint32_t* maps,
                  uint16_t* planes, uint32_t* grad_maps, uint16_t* grad_planes, float* sums, float* grad_x,
                  float* grad_weights, float* grad_bias, float* grad_out) const {
        Team team(s.threads);
        large_pages(grad_maps, s.depth * PER * s.map() * 4);
        large_pages(grad_planes, (tiled() ? this->woven() : s.depth * 2 * s.plane()) * 2);
        large_pages(sums, waiting() * 4);
        if (tiled()) map_gradients_by_tiles(team, grad, weights, out_weight, maps, grad_maps, grad_planes, sums, grad_x);
        else map_gradients(team, grad, weights, out_weight, maps, grad_maps, grad_planes, sums, grad_x);
        team.each(s.depth, [&](int64_t i) { sum_bias(grad_maps, grad_bias, i); });
        team.each(s.pairs(), [&](int64_t p) { out_gradient(maps, grad, grad_out, p); });
        if (tiled()) this->weight_gradients_by_tiles(team, planes, grad_planes, grad_weights);
        else weight_gradients(team, maps, planes, grad_maps, grad_planes, grad_weights);
    }

    // A row of the gradient of one channel by the scores, where `weight` are its weights, the next class pairs * 2 further.
    void add_scores(const float* grad, const float* weight, int64_t r, const float* before, float* sums) const {
        const int64_t volume = s.z * s.y * s.x, b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
        for (int64_t x = 0; x < s.padded; x += LANES) {
            Floats sum = before ? load_any(before + x) : every(0.0f);
            for (int64_t k = 0; k < s.classes; ++k) {
                const Floats g = load_some(valid(s, x), grad + (b * s.classes + k) * volume + at + x);
                sum = fma(g, every(weight[k * s.pairs() * 2]), sum);
            }
            put_any(sums + x, sum);
        }
    }

    // A row of the gradients of pair p is known: of the input, or times the slope of the activation of layer p - 1.
    void take(const uint32_t* maps, uint32_t* grad_maps, uint16_t* grad_planes, float* grad_x, int64_t p, int64_t r,
              const float* sums, int64_t other) const {
        if (p == 0) {
            const int64_t volume = s.z * s.y * s.x, b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
            for (int64_t c = 0; c < s.inputs; ++c)
                std::memcpy(grad_x + (b * s.inputs + c) * volume + at, sums + c * other, s.x * 4);
            return;
        }
        store(grad_maps, grad_planes, p - 1, r, [&](int64_t at, int c) {
            Floats u, v;
            read(maps, p, r, at, u, v);
            return scaled_where_low(load_any(sums + c * other + at), c ? v : u, every(SLOPE));
        });
    }

    // The same in blocks of pairs: what they get from later blocks is summed
    // by tiles, from all layers of one dilation at a time; the rest, pair by pair, as elsewhere. The gradients are woven
    // for the tiles of weight_gradients.
    void map_gradients_by_tiles(Team& team, const float* grad, const uint32_t* weights, const float* out_weight,
                                const uint32_t* maps, uint32_t* grad_maps, uint16_t* woven, float* sums,
                                float* grad_x) const {
        const int64_t last = grad_x ? 0 : 1, row = OUTPUTS * s.padded;
        const std::vector<float> zeros(OUTPUTS, 0.0f);
        std::vector<Source> sources;
        for (int64_t stop = s.depth + 1; stop > last; stop = std::max(stop - BLOCK, last)) {
            const int64_t begin = std::max(stop - BLOCK, last);
            const bool later = stop <= s.depth;  // layers stop - 1 .. depth - 1 are of later blocks
            bool fresh = true;
            for (int64_t layer = stop - 1; layer < std::min(stop - 1 + s.cycle, s.depth); ++layer) {
                const int64_t all = (s.depth - layer + s.cycle - 1) / s.cycle, parts = (all + SIDE - 1) / SIDE;
                for (int64_t part = 0; part < parts; ++part) {
                    const int64_t k0 = all * part / parts, count = all * (part + 1) / parts - k0;
                    const auto packed = tile_weights((stop - begin) * 2, count, [&](int64_t o, int64_t k) {
                        return weights + ((layer + (k0 + k) * s.cycle) * s.pairs() + begin + o / 2) * TAPS + o % 2;
                    });
                    spread(team, s, {map(grad_maps, layer + k0 * s.cycle), s.cycle * s.map(), count, s.dilation(layer),
                                     packed.data(), (stop - begin) * 2, sums, row, fresh ? zeros.data() : nullptr});
                    fresh = false;
                }
            }
            for (int64_t p = stop - 1; p >= begin; --p) {
                sources.clear();
                for (int64_t k = p; k < stop - 1; ++k)
                    sources.push_back({map(grad_maps, k), weights + (k * s.pairs() + p) * TAPS, s.dilation(k)});
                const auto init = [&](int64_t r, float* to, int64_t other) {
                    for (int64_t c = 0; c < 2; ++c) {
                        const float* waiting = sums + r * row + ((p - begin) * 2 + c) * s.padded;
                        add_scores(grad, out_weight + p * 2 + c, r, later ? waiting : nullptr, to + c * other);
                    }
                };
                const auto finish = [&](int64_t r, const float* from, int64_t other) {
                    take(maps, grad_maps, nullptr, grad_x, p, r, from, other);
                    if (p > 0) this->weave(map(grad_maps, p - 1) + r * s.row, p - 1, r, woven);
                };
                this->template pull<1>(team, sources, 0, 1, init, finish);
            }
        }
    }

    // Gradients of all maps, two pairs p and p - 1 at a time: what both are read by is summed for both at once.
    void map_gradients(Team& team, const float* grad, const uint32_t* weights, const float* out_weight,
                       const uint32_t* maps, uint32_t* grad_maps, uint16_t* grad_planes, float* partial,
                       float* grad_x) const {
        const int64_t row = 2 * s.padded, last = grad_x ? 0 : 1;
        std::vector<Source> sources;
        for (int64_t p = s.depth; p >= last; --p) {
            const bool second = (s.depth - p) % 2 == 1, both = !second && p > last;
            sources.clear();
            for (int64_t k = p; k < (second ? p + 1 : s.depth); ++k)  // grad_maps holds layer k as pair k
                for (int64_t part = 0; part < PER; ++part)
                    sources.push_back({map(grad_maps, k, part), weights + ((k * s.pairs() + p) * PER + part) * TAPS,
                                       s.dilation(k)});
            const auto init = [&](int64_t r, float* sums, int64_t other) {
                if (second) {
                    for (int c = 0; c < 2; ++c)
                        std::memcpy(sums + c * other, partial + r * row + c * s.padded, s.padded * 4);
                    return;
                }
                for (int64_t c = 0; c < (both ? 4 : 2); ++c)
                    add_scores(grad, out_weight + (p - c / 2) * 2 + c % 2, r, nullptr, sums + c * other);
            };
            const auto finish = [&](int64_t r, const float* sums, int64_t other) {
                if (both)
                    for (int c = 0; c < 2; ++c)
                        std::memcpy(partial + r * row + c * s.padded, sums + (2 + c) * other, s.padded * 4);
                take(maps, grad_maps, grad_planes, grad_x, p, r, sums, other);
            };
            if (both) this->template pull<2>(team, sources, -PER * TAPS, 1, init, finish);
            else this->template pull<1>(team, sources, 0, 1, init, finish);
        }
    }

    void sum_bias(const uint32_t* grad_maps, float* grad_bias, int64_t i) const {
        double sums[2] = {0, 0};
        for (int64_t r = 0; r < s.rows(); ++r) {
            Floats a = every(0.0f), b = a;
            for (int64_t x = 0; x < s.padded; x += LANES) {
                Floats u, v;
                read(grad_maps, i, r, x, u, v);
                a = add(a, u), b = add(b, v);
            }
            sums[0] += total(a), sums[1] += total(b);
        }
        grad_bias[i * 2] = static_cast<float>(sums[0]), grad_bias[i * 2 + 1] = static_cast<float>(sums[1]);
    }

    void out_gradient(const uint32_t* maps, const float* grad, float* grad_out, int64_t p) const {
        const int64_t volume = s.z * s.y * s.x;
        for (int64_t k0 = 0; k0 < s.classes; k0 += 8) {
            const int64_t count = std::min<int64_t>(8, s.classes - k0);
            Floats a[8], b[8];
            for (int64_t k = 0; k < 8; ++k) a[k] = b[k] = every(0.0f);
            for (int64_t r = 0; r < s.rows(); ++r) {
                const int64_t n = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
                for (int64_t x = 0; x < s.x; x += LANES) {
                    Floats u, v;
                    read(maps, p, r, x, u, v);
                    for (int64_t k = 0; k < count; ++k) {
                        const Floats g =
                            load_some(valid(s, x), grad + (n * s.classes + k0 + k) * volume + at + x);
                        a[k] = fma(u, g, a[k]), b[k] = fma(v, g, b[k]);
                    }
                }
            }
            for (int64_t k = 0; k < count; ++k) {
                grad_out[((k0 + k) * s.pairs() + p) * 2] = total(a[k]);
                grad_out[((k0 + k) * s.pairs() + p) * 2 + 1] = total(b[k]);
            }
        }
    }

    // A row of one channel of a pair, in the format of weight gradients, and how many 4-byte words a row takes.
    const uint32_t* channel(const uint32_t* maps, uint16_t* planes, int64_t pair, int64_t c) const {
        if constexpr (HALF) return reinterpret_cast<const uint32_t*>(plane(planes, pair, c));
        else return map(maps, pair, c);
    }

    // Gradients of the kernels from pair p to NI layers of one dilation: i, i + cycle.
    template <int NI>
    void weight_gradient(const uint32_t* maps, uint16_t* planes, const uint32_t* grad_maps, uint16_t* grad_planes,
                         int64_t i, int64_t p, float* out) const {
        const int64_t row = HALF ? s.plane_row / 2 : s.row, vectors = HALF ? (s.x + 31) / 32 : s.padded / LANES;
        const int64_t d = s.dilation(i), chunk = std::max<int64_t>(4, 32768 / ((NI * 2 + 2) * row * 4));
        const uint32_t* g[NI * 2];
        const char* from[2];
        for (int o = 0; o < NI * 2; ++o) g[o] = channel(grad_maps, grad_planes, i + o / 2 * s.cycle, o % 2);
        for (int c = 0; c < 2; ++c) from[c] = reinterpret_cast<const char*>(channel(maps, planes, p, c));
        const int64_t shift = d * (HALF ? 2 : 4);  // bytes
        alignas(64) float sums[9][3][2][NI * 2][LANES] = {};
        for (int64_t plane = 0; plane < s.batch * s.z; ++plane)
            for (int64_t y0 = 0; y0 < s.y; y0 += chunk)
                for (int tap = 0; tap < 9; ++tap) {
                    const int64_t z = plane % s.z + (tap / 3 - 1) * d, dy = (tap % 3 - 1) * d;
                    if (z < 0 || z >= s.z) continue;
                    const int64_t first = std::max(y0, -dy), last = std::min({y0 + chunk, s.y, s.y - dy});
                    if (first >= last) continue;
                    Floats a[3][2][NI * 2];
                    for (int e = 0; e < 3 * 2 * NI * 2; ++e)
                        a[e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)] =
                            load(sums[tap][e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)]);
                    for (int64_t y = first; y < last; ++y) {
                        const int64_t mine = (plane * s.y + y) * row;
                        const int64_t theirs = ((plane + (tap / 3 - 1) * d) * s.y + y + dy) * row;
                        for (int64_t v = 0; v < vectors; ++v) {
                            Words value[NI * 2];
                            for (int o = 0; o < NI * 2; ++o) value[o] = words(g[o] + mine + v * LANES);
#pragma GCC unroll 2
                            for (int c = 0; c < 2; ++c) {
                                const char* here = from[c] + (theirs + v * LANES) * 4;
#pragma GCC unroll 3
                                for (int dx = 0; dx < 3; ++dx) {
                                    const Words t = words(here + (dx - 1) * shift);
#pragma GCC unroll 4
                                    for (int o = 0; o < NI * 2; ++o)
                                        a[dx][c][o] = multiply_add<HALF>(a[dx][c][o], t, value[o]);
                                }
                            }
                        }
                    }
                    for (int e = 0; e < 3 * 2 * NI * 2; ++e)
                        put(sums[tap][e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)],
                                        a[e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)]);
                }
        for (int tap = 0; tap < 9; ++tap)
            for (int dx = 0; dx < 3; ++dx)
                for (int c = 0; c < 2; ++c)
                    for (int o = 0; o < NI * 2; ++o) {
                        const int64_t layer = i + o / 2 * s.cycle;
                        out[((layer * 2 + o % 2) * s.pairs() * 2 + p * 2 + c) * 27 + tap * 3 + dx] =
                            total(load(sums[tap][dx][c][o]));
                    }
    }

    void weight_gradients(Team& team, const uint32_t* maps, uint16_t* planes, const uint32_t* grad_maps,
                          uint16_t* grad_planes, float* out) const {
        struct Job {
            int64_t layer, pair;
            bool both;
        };
        std::vector<Job> jobs;
        for (int64_t i = 0; i < s.depth; ++i) {
            if (LANES == 16 && i / s.cycle % 2 == 1) continue;  // goes with the layer one cycle before
            const bool both = LANES == 16 && i + s.cycle < s.depth;  // AVX2 has registers for one
            for (int64_t p = 0; p <= i; ++p) jobs.push_back({i, p, both});
            if (both)
                for (int64_t p = i + 1; p <= i + s.cycle; ++p) jobs.push_back({i + s.cycle, p, false});
        }
        team.each(static_cast<int64_t>(jobs.size()), [&](int64_t n) {
            const Job& job = jobs[n];
            if (job.both) weight_gradient<2>(maps, planes, grad_maps, grad_planes, job.layer, job.pair, out);
            else weight_gradient<1>(maps, planes, grad_maps, grad_planes, job.layer, job.pair, out);
        });
    }
};

}  // namespace msdnet
