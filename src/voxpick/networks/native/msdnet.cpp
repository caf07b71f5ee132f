// Dense stack of dilated 3x3x3 convolutions, two channels a layer, for processors with AVX-512.
//
// Every layer adds a pair of channels. Pair 0 is the input (its second channel zero when there is one), pair i + 1 is
// layer i. A pair is stored twice:
//   maps:   4 bytes a voxel. bf16: the two channels interleaved (one map a pair), for dot products over channels.
//           float: one map a channel.
//   planar: bf16 only, one plane a channel, for dot products over neighbouring voxels (weight gradients).
// Rows are followed by a gap of zeros that serves as padding on both sides; the buffer begins with one more gap.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int GAP = 16;         // voxels of zeros after each row of maps; no dilation may exceed it
constexpr int PLANAR_GAP = 32;  // the same in planes of bf16
constexpr int64_t SUMS = 131072;  // floats of the sums of a slab; they should stay in the second-level cache
constexpr float SLOPE = 0.01f;

struct Shape {
    int64_t batch, z, y, x, depth, classes, inputs, cycle, threads, padded, row, plane_row;
    const int64_t* dilations;
    int64_t pairs() const { return depth + 1; }
    int64_t rows() const { return batch * z * y; }
    int64_t map() const { return rows() * row; }          // 4-byte words of one map
    int64_t plane() const { return rows() * plane_row; }  // bf16 values of one plane
    int64_t dilation(int64_t layer) const { return dilations[layer % cycle]; }
};

Shape shape_of(const int64_t* n) {
    Shape s{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], 0, 0, 0, n + 9};
    s.padded = (s.x + 15) / 16 * 16;
    s.row = s.padded + GAP;
    s.plane_row = (s.x + 31) / 32 * 32 + PLANAR_GAP;
    return s;
}

// All of f(0) .. f(count - 1) on some threads.
class Team {
  public:
    explicit Team(int64_t threads) : size_(static_cast<int>(std::max<int64_t>(threads, 1))) {
        for (int t = 1; t < size_; ++t) workers_.emplace_back([this] { serve(); });
    }
    ~Team() {
        stop_ = true;
        generation_.fetch_add(1);
        for (auto& w : workers_) w.join();
    }
    void each(int64_t count, const std::function<void(int64_t)>& f) {
        f_ = &f;
        count_ = count;
        next_ = 0;
        busy_ = size_ - 1;
        generation_.fetch_add(1);
        work();
        for (int spins = 0; busy_.load() > 0;) relax(spins);
    }

  private:
    static void relax(int& spins) {
        if (++spins < 2000) _mm_pause();
        else std::this_thread::yield();
    }
    void work() {
        for (int64_t i; (i = next_.fetch_add(1)) < count_;) (*f_)(i);
    }
    void serve() {
        int seen = 0;
        while (true) {
            for (int spins = 0; generation_.load() == seen;) relax(spins);
            ++seen;
            if (stop_) return;
            work();
            busy_.fetch_sub(1);
        }
    }
    int size_;
    std::vector<std::thread> workers_;
    std::atomic<int> generation_{0}, busy_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<bool> stop_{false};
    int64_t count_ = 0;
    const std::function<void(int64_t)>* f_ = nullptr;
};

alignas(64) const uint32_t ZEROS[4096] = {};

template <bool HALF>
inline __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    if constexpr (HALF) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
    else return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

inline __m512 low(__m512i pair) { return _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)); }
inline __m512 high(__m512i pair) {
    return _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

// One map convolved into the outputs of T layers, 2 T, over NR rows of NV vectors; `sums` is [2 T][y][padded] with
// stride `other` between outputs, `next` the distance of the weights of the second layer. `after` is read ahead.
template <bool HALF, int T, int NR, int NV>
inline void tile(const Shape& s, const uint32_t* map, const uint32_t* after, const uint32_t* weights, int64_t next,
                 int64_t z, int64_t y, int64_t x, int64_t d, float* sums, int64_t other) {
    __m512 a[2 * T][NR][NV];
#pragma GCC unroll 4
    for (int o = 0; o < 2 * T; ++o)
        for (int r = 0; r < NR; ++r)
            for (int v = 0; v < NV; ++v) a[o][r][v] = _mm512_load_ps(sums + o * other + r * s.padded + v * 16);
    for (int r = 0; r < NR; ++r)
        for (int v = 0; v < NV; ++v)
            _mm_prefetch(reinterpret_cast<const char*>(after + (z * s.y + y + r) * s.row + x + v * 16), _MM_HINT_T1);
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
                __m512i k[2 * T];
#pragma GCC unroll 4
                for (int o = 0; o < 2 * T; ++o)
                    k[o] = _mm512_set1_epi32(static_cast<int>(w[o / 2 * next + dx * 2 + o % 2]));
                const int64_t off = (dx - 1) * d;
#pragma GCC unroll 8
                for (int r = 0; r < NR; ++r)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) {
                        const __m512i value = _mm512_loadu_si512(rows[r] + off + v * 16);
#pragma GCC unroll 4
                        for (int o = 0; o < 2 * T; ++o) a[o][r][v] = multiply_add<HALF>(a[o][r][v], value, k[o]);
                    }
            }
        }
    }
#pragma GCC unroll 4
    for (int o = 0; o < 2 * T; ++o)
        for (int r = 0; r < NR; ++r)
            for (int v = 0; v < NV; ++v) _mm512_store_ps(sums + o * other + r * s.padded + v * 16, a[o][r][v]);
}

// Planes first, first + step, ... of one volume.
struct Slab {
    int64_t volume, first, step, count;
};

// The slabs of a batch: at most `thick` planes each; planes `step` apart share what a dilation of `step` reads.
std::vector<Slab> slabs_of(const Shape& s, int64_t step, int64_t thick) {
    std::vector<Slab> slabs;
    for (int64_t b = 0; b < s.batch; ++b)
        for (int64_t phase = 0; phase < std::min(step, s.z); ++phase) {
            const int64_t planes = (s.z - phase + step - 1) / step, parts = (planes + thick - 1) / thick;
            for (int64_t part = 0; part < parts; ++part) {
                const int64_t from = planes * part / parts, to = planes * (part + 1) / parts;
                slabs.push_back({b, phase + from * step, step, to - from});
            }
        }
    return slabs;
}

// One map of one volume convolved into the outputs of T layers; sums is [plane][2 T][y rounded to 8][padded].
template <bool HALF, int T>
void convolve(const Shape& s, const uint32_t* map, const uint32_t* after, const uint32_t* weights, int64_t next,
              int64_t d, const Slab& slab, float* sums) {
    const int64_t other = (s.y + 7) / 8 * 8 * s.padded;
    for (int64_t k = 0; k < slab.count; ++k, sums += 2 * T * other) {
        const int64_t z = slab.first + k * slab.step;
        for (int64_t x = 0; x < s.padded;) {
            const int64_t left = s.padded - x;
            float* here = sums + x;
            const auto run = [&]<int NR, int NV>() {
                for (int64_t y = 0; y < s.y; y += NR)
                    tile<HALF, T, NR, NV>(s, map, after, weights, next, z, y, x, d, here + y * s.padded, other);
                x += NV * 16;
            };
            if (left >= 64) run.template operator()<2 / T, 4>();
            else if (left >= 32) run.template operator()<4 / T, 2>();
            else run.template operator()<8 / T, 1>();
        }
    }
}

inline __mmask16 valid(const Shape& s, int64_t x) {
    const int64_t left = s.x - x;
    return left >= 16 ? 0xffff : left <= 0 ? 0 : static_cast<__mmask16>((1u << left) - 1);
}

template <bool HALF>
struct Engine {
    Shape s;
    static constexpr int64_t PER = HALF ? 1 : 2;  // maps a pair
    static constexpr int64_t TAPS = 54;           // words of weights of one map: 27 taps, 2 outputs

    const uint32_t* map(const uint32_t* maps, int64_t pair, int64_t part = 0) const {
        return maps + GAP + (pair * PER + part) * s.map();
    }
    uint16_t* plane(uint16_t* planes, int64_t pair, int64_t channel) const {
        return planes + PLANAR_GAP + (pair * 2 + channel) * s.plane();
    }

    // Store one row of both channels (read by f(x, channel)) into a pair, with its gap.
    template <class F>
    void store(uint32_t* maps, uint16_t* planes, int64_t pair, int64_t r, F f) const {
        for (int64_t x = 0; x < s.padded; x += 16) {
            const __mmask16 m = valid(s, x);
            const __m512 a = _mm512_maskz_mov_ps(m, f(x, 0)), b = _mm512_maskz_mov_ps(m, f(x, 1));
            uint32_t* to = const_cast<uint32_t*>(map(maps, pair)) + r * s.row + x;
            if constexpr (HALF) {
                const __m256i p = (__m256i)_mm512_cvtneps_pbh(a), q = (__m256i)_mm512_cvtneps_pbh(b);
                const __m512i both =
                    _mm512_or_si512(_mm512_cvtepu16_epi32(p), _mm512_slli_epi32(_mm512_cvtepu16_epi32(q), 16));
                _mm512_storeu_si512(to, both);
                if (planes) {
                    _mm256_storeu_si256((__m256i*)(plane(planes, pair, 0) + r * s.plane_row + x), p);
                    _mm256_storeu_si256((__m256i*)(plane(planes, pair, 1) + r * s.plane_row + x), q);
                }
            } else {
                _mm512_storeu_ps(to, a);
                _mm512_storeu_ps(to + s.map(), b);
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

    // Both channels of a pair at 16 voxels, as float.
    void load(const uint32_t* maps, int64_t pair, int64_t r, int64_t x, __m512& a, __m512& b) const {
        const uint32_t* from = map(maps, pair) + r * s.row + x;
        if constexpr (HALF) {
            const __m512i both = _mm512_loadu_si512(from);
            a = low(both), b = high(both);
        } else {
            a = _mm512_loadu_ps(from), b = _mm512_loadu_ps(from + s.map());
        }
    }

    struct Source {
        const uint32_t* map;
        const uint32_t* weights;
        int64_t dilation;
    };

    // Sums of convolutions for T layers, slab by slab: init(row, sums, other) fills, the sources are added,
    // finish(row, sums, other) takes. `next`: distance between the weights of the two layers.
    template <int T, class Init, class Finish>
    void pull(Team& team, const std::vector<Source>& sources, int64_t next, int64_t step, Init init,
              Finish finish) const {
        const int64_t other = (s.y + 7) / 8 * 8 * s.padded;
        const int64_t fits = std::max<int64_t>(1, SUMS / (2 * T * other));
        const int64_t share = (s.batch * s.z + 4 * s.threads - 1) / (4 * s.threads);
        const std::vector<Slab> slabs = slabs_of(s, step, std::max<int64_t>(1, std::min(fits, share)));
        team.each(static_cast<int64_t>(slabs.size()), [&](int64_t unit) {
            static thread_local std::vector<float> storage;
            const Slab& slab = slabs[unit];
            storage.resize(std::max<size_t>(storage.size(), slab.count * 2 * T * other + 16));
            float* sums = storage.data();
            sums += (64 - reinterpret_cast<uintptr_t>(sums) % 64) % 64 / 4;
            const auto rows = [&](auto f) {
                for (int64_t k = 0; k < slab.count; ++k)
                    for (int64_t y = 0; y < s.y; ++y)
                        f((slab.volume * s.z + slab.first + k * slab.step) * s.y + y,
                          sums + k * 2 * T * other + y * s.padded, other);
            };
            const int64_t volume = slab.volume * s.z * s.y * s.row;
            rows(init);
            for (size_t n = 0; n < sources.size(); ++n) {
                const Source& now = sources[n];
                const uint32_t* after = sources[std::min(n + 1, sources.size() - 1)].map + volume;
                convolve<HALF, T>(s, now.map + volume, after, now.weights, next, now.dilation, slab, sums);
            }
            rows(finish);
        });
    }

    void forward(const float* x, const uint32_t* weights, const float* bias, const float* out_weight,
                 const float* out_bias, uint32_t* maps, uint16_t* planes, float* logits) const {
        Team team(s.threads);
        const int64_t volume = s.z * s.y * s.x;
        const int64_t per_plane = s.y;
        team.each(s.batch * s.z, [&](int64_t unit) {
            for (int64_t r = unit * per_plane; r < (unit + 1) * per_plane; ++r) {
                const int64_t b = r / (s.z * s.y), in = r % (s.z * s.y) * s.x;
                store(maps, planes, 0, r, [&](int64_t at, int c) {
                    if (c >= s.inputs) return _mm512_setzero_ps();
                    return _mm512_maskz_loadu_ps(valid(s, at), x + (b * s.inputs + c) * volume + in + at);
                });
            }
        });
        layers(team, weights, bias, maps, planes);
        team.each(s.batch * s.z, [&](int64_t unit) {
            for (int64_t r = unit * per_plane; r < (unit + 1) * per_plane; ++r) score(maps, out_weight, out_bias, logits, r);
        });
    }

    // All layers. A layer of an even block also sums for its successor one cycle on, which has the same dilation, all
    // that it reads itself; the partial sums wait until the rest has been computed.
    void layers(Team& team, const uint32_t* weights, const float* bias, uint32_t* maps, uint16_t* planes) const {
        const int64_t words = s.pairs() * PER * TAPS, row = 2 * s.padded;
        const std::unique_ptr<float[]> partial(new float[s.cycle * s.rows() * row]);
        std::vector<Source> sources;
        for (int64_t i = 0; i < s.depth; ++i) {
            const bool second = i / s.cycle % 2 == 1, both = !second && i + s.cycle < s.depth;
            float* waiting = partial.get() + i % s.cycle * s.rows() * row;
            sources.clear();
            for (int64_t p = second ? i - s.cycle + 1 : 0; p <= i; ++p)
                for (int64_t part = 0; part < PER; ++part)
                    sources.push_back({map(maps, p, part), weights + i * words + (p * PER + part) * TAPS, s.dilation(i)});
            const auto init = [&](int64_t r, float* sums, int64_t other) {
                for (int c = 0; c < (both ? 4 : 2); ++c) {
                    float* to = sums + c * other;
                    if (second) std::memcpy(to, waiting + r * row + c * s.padded, s.padded * 4);
                    else std::fill(to, to + s.padded, bias[(i + c / 2 * s.cycle) * 2 + c % 2]);
                }
            };
            const auto finish = [&](int64_t r, const float* sums, int64_t other) {
                store(maps, planes, i + 1, r, [&](int64_t at, int c) {
                    const __m512 v = _mm512_loadu_ps(sums + c * other + at);
                    return _mm512_max_ps(v, _mm512_mul_ps(v, _mm512_set1_ps(SLOPE)));
                });
                if (both)
                    for (int c = 0; c < 2; ++c)
                        std::memcpy(waiting + r * row + c * s.padded, sums + (2 + c) * other, s.padded * 4);
            };
            if (both) pull<2>(team, sources, s.cycle * words, s.dilation(i), init, finish);
            else pull<1>(team, sources, 0, s.dilation(i), init, finish);
        }
    }

    // One row of all logits.
    void score(const uint32_t* maps, const float* weight, const float* bias, float* logits, int64_t r) const {
        const int64_t b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x, volume = s.z * s.y * s.x;
        for (int64_t k0 = 0; k0 < s.classes; k0 += 8) {
            const int64_t count = std::min<int64_t>(8, s.classes - k0);
            for (int64_t x = 0; x < s.x; x += 16) {
                __m512 sum[8];
                for (int64_t k = 0; k < count; ++k) sum[k] = _mm512_set1_ps(bias[k0 + k]);
                for (int64_t p = 0; p < s.pairs(); ++p) {
                    __m512 u, v;
                    load(maps, p, r, x, u, v);
                    for (int64_t k = 0; k < count; ++k) {
                        const float* w = weight + ((k0 + k) * s.pairs() + p) * 2;
                        sum[k] = _mm512_fmadd_ps(u, _mm512_set1_ps(w[0]), sum[k]);
                        sum[k] = _mm512_fmadd_ps(v, _mm512_set1_ps(w[1]), sum[k]);
                    }
                }
                for (int64_t k = 0; k < count; ++k)
                    _mm512_mask_storeu_ps(logits + (b * s.classes + k0 + k) * volume + at + x, valid(s, x), sum[k]);
            }
        }
    }

    void backward(const float* grad, const uint32_t* weights, const float* out_weight, const uint32_t* maps,
                  uint16_t* planes, uint32_t* grad_maps, uint16_t* grad_planes, float* grad_x, float* grad_weights,
                  float* grad_bias, float* grad_out) const {
        Team team(s.threads);
        map_gradients(team, grad, weights, out_weight, maps, grad_maps, grad_planes, grad_x);
        team.each(s.depth, [&](int64_t i) { sum_bias(grad_maps, grad_bias, i); });
        team.each(s.pairs(), [&](int64_t p) { out_gradient(maps, grad, grad_out, p); });
        weight_gradients(team, maps, planes, grad_maps, grad_planes, grad_weights);
    }

    // Gradients of all maps, two pairs p and p - 1 at a time: what both are read by is summed for both at once.
    void map_gradients(Team& team, const float* grad, const uint32_t* weights, const float* out_weight,
                       const uint32_t* maps, uint32_t* grad_maps, uint16_t* grad_planes, float* grad_x) const {
        const int64_t volume = s.z * s.y * s.x, row = 2 * s.padded, last = grad_x ? 0 : 1;
        const std::unique_ptr<float[]> partial(new float[s.rows() * row]);
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
                        std::memcpy(sums + c * other, partial.get() + r * row + c * s.padded, s.padded * 4);
                    return;
                }
                const int64_t b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
                for (int64_t c = 0; c < (both ? 4 : 2); ++c)
                    for (int64_t x = 0; x < s.padded; x += 16) {
                        __m512 sum = _mm512_setzero_ps();
                        for (int64_t k = 0; k < s.classes; ++k) {
                            const float w = out_weight[(k * s.pairs() + p - c / 2) * 2 + c % 2];
                            const __m512 g =
                                _mm512_maskz_loadu_ps(valid(s, x), grad + (b * s.classes + k) * volume + at + x);
                            sum = _mm512_fmadd_ps(g, _mm512_set1_ps(w), sum);
                        }
                        _mm512_storeu_ps(sums + c * other + x, sum);
                    }
            };
            const auto finish = [&](int64_t r, const float* sums, int64_t other) {
                if (both)
                    for (int c = 0; c < 2; ++c)
                        std::memcpy(partial.get() + r * row + c * s.padded, sums + (2 + c) * other, s.padded * 4);
                if (p == 0) {
                    const int64_t b = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
                    for (int64_t c = 0; c < s.inputs; ++c)
                        std::memcpy(grad_x + (b * s.inputs + c) * volume + at, sums + c * other, s.x * 4);
                    return;
                }
                store(grad_maps, grad_planes, p - 1, r, [&](int64_t at, int c) {
                    __m512 u, v;
                    load(maps, p, r, at, u, v);
                    const __mmask16 negative = _mm512_cmp_ps_mask(c ? v : u, _mm512_setzero_ps(), _CMP_LE_OQ);
                    const __m512 g = _mm512_loadu_ps(sums + c * other + at);
                    return _mm512_mask_mul_ps(g, negative, g, _mm512_set1_ps(SLOPE));
                });
            };
            if (both) pull<2>(team, sources, -PER * TAPS, 1, init, finish);
            else pull<1>(team, sources, 0, 1, init, finish);
        }
    }

    void sum_bias(const uint32_t* grad_maps, float* grad_bias, int64_t i) const {
        double total[2] = {0, 0};
        for (int64_t r = 0; r < s.rows(); ++r) {
            __m512 a = _mm512_setzero_ps(), b = a;
            for (int64_t x = 0; x < s.padded; x += 16) {
                __m512 u, v;
                load(grad_maps, i, r, x, u, v);
                a = _mm512_add_ps(a, u), b = _mm512_add_ps(b, v);
            }
            total[0] += _mm512_reduce_add_ps(a), total[1] += _mm512_reduce_add_ps(b);
        }
        grad_bias[i * 2] = static_cast<float>(total[0]), grad_bias[i * 2 + 1] = static_cast<float>(total[1]);
    }

    void out_gradient(const uint32_t* maps, const float* grad, float* grad_out, int64_t p) const {
        const int64_t volume = s.z * s.y * s.x;
        for (int64_t k0 = 0; k0 < s.classes; k0 += 8) {
            const int64_t count = std::min<int64_t>(8, s.classes - k0);
            __m512 a[8], b[8];
            for (int64_t k = 0; k < 8; ++k) a[k] = b[k] = _mm512_setzero_ps();
            for (int64_t r = 0; r < s.rows(); ++r) {
                const int64_t n = r / (s.z * s.y), at = r % (s.z * s.y) * s.x;
                for (int64_t x = 0; x < s.x; x += 16) {
                    __m512 u, v;
                    load(maps, p, r, x, u, v);
                    for (int64_t k = 0; k < count; ++k) {
                        const __m512 g =
                            _mm512_maskz_loadu_ps(valid(s, x), grad + (n * s.classes + k0 + k) * volume + at + x);
                        a[k] = _mm512_fmadd_ps(u, g, a[k]), b[k] = _mm512_fmadd_ps(v, g, b[k]);
                    }
                }
            }
            for (int64_t k = 0; k < count; ++k) {
                grad_out[((k0 + k) * s.pairs() + p) * 2] = _mm512_reduce_add_ps(a[k]);
                grad_out[((k0 + k) * s.pairs() + p) * 2 + 1] = _mm512_reduce_add_ps(b[k]);
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
        const int64_t row = HALF ? s.plane_row / 2 : s.row, vectors = HALF ? (s.x + 31) / 32 : s.padded / 16;
        const int64_t d = s.dilation(i), chunk = std::max<int64_t>(4, 32768 / ((NI * 2 + 2) * row * 4));
        const uint32_t* g[NI * 2];
        const char* from[2];
        for (int o = 0; o < NI * 2; ++o) g[o] = channel(grad_maps, grad_planes, i + o / 2 * s.cycle, o % 2);
        for (int c = 0; c < 2; ++c) from[c] = reinterpret_cast<const char*>(channel(maps, planes, p, c));
        const int64_t shift = d * (HALF ? 2 : 4);  // bytes
        alignas(64) float total[9][3][2][NI * 2][16] = {};
        for (int64_t plane = 0; plane < s.batch * s.z; ++plane)
            for (int64_t y0 = 0; y0 < s.y; y0 += chunk)
                for (int tap = 0; tap < 9; ++tap) {
                    const int64_t z = plane % s.z + (tap / 3 - 1) * d, dy = (tap % 3 - 1) * d;
                    if (z < 0 || z >= s.z) continue;
                    const int64_t first = std::max(y0, -dy), last = std::min({y0 + chunk, s.y, s.y - dy});
                    if (first >= last) continue;
                    __m512 a[3][2][NI * 2];
                    for (int e = 0; e < 3 * 2 * NI * 2; ++e)
                        a[e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)] =
                            _mm512_load_ps(total[tap][e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)]);
                    for (int64_t y = first; y < last; ++y) {
                        const int64_t mine = (plane * s.y + y) * row;
                        const int64_t theirs = ((plane + (tap / 3 - 1) * d) * s.y + y + dy) * row;
                        for (int64_t v = 0; v < vectors; ++v) {
                            __m512i value[NI * 2];
                            for (int o = 0; o < NI * 2; ++o) value[o] = _mm512_loadu_si512(g[o] + mine + v * 16);
#pragma GCC unroll 2
                            for (int c = 0; c < 2; ++c) {
                                const char* here = from[c] + (theirs + v * 16) * 4;
#pragma GCC unroll 3
                                for (int dx = 0; dx < 3; ++dx) {
                                    const __m512i t = _mm512_loadu_si512(here + (dx - 1) * shift);
#pragma GCC unroll 4
                                    for (int o = 0; o < NI * 2; ++o)
                                        a[dx][c][o] = multiply_add<HALF>(a[dx][c][o], t, value[o]);
                                }
                            }
                        }
                    }
                    for (int e = 0; e < 3 * 2 * NI * 2; ++e)
                        _mm512_store_ps(total[tap][e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)],
                                        a[e / (4 * NI)][e / (2 * NI) % 2][e % (2 * NI)]);
                }
        for (int tap = 0; tap < 9; ++tap)
            for (int dx = 0; dx < 3; ++dx)
                for (int c = 0; c < 2; ++c)
                    for (int o = 0; o < NI * 2; ++o) {
                        const int64_t layer = i + o / 2 * s.cycle;
                        out[((layer * 2 + o % 2) * s.pairs() * 2 + p * 2 + c) * 27 + tap * 3 + dx] =
                            _mm512_reduce_add_ps(_mm512_load_ps(total[tap][dx][c][o]));
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
            if (i / s.cycle % 2 == 1) continue;  // goes with the layer one cycle before
            const bool both = i + s.cycle < s.depth;
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

}  // namespace

extern "C" {

// 4-byte words of the maps and bf16 values of the planes that the caller allocates for `pairs` pairs.
void msdnet_sizes(const int64_t* n, int64_t half, int64_t pairs, int64_t* sizes) {
    const Shape s = shape_of(n);
    sizes[0] = GAP + pairs * (half ? 1 : 2) * s.map() + 32;
    sizes[1] = half ? PLANAR_GAP + pairs * 2 * s.plane() + 64 : 0;
}

void msdnet_forward(const int64_t* n, int64_t half, const float* x, const void* weights, const float* bias,
                    const float* out_weight, const float* out_bias, void* maps, void* planes, float* logits) {
    const Shape s = shape_of(n);
    const auto w = static_cast<const uint32_t*>(weights);
    const auto m = static_cast<uint32_t*>(maps);
    const auto p = static_cast<uint16_t*>(planes);
    if (half) Engine<true>{s}.forward(x, w, bias, out_weight, out_bias, m, p, logits);
    else Engine<false>{s}.forward(x, w, bias, out_weight, out_bias, m, p, logits);
}

void msdnet_backward(const int64_t* n, int64_t half, const float* grad, const void* weights, const float* out_weight,
                     const void* maps, void* planes, void* grad_maps, void* grad_planes, float* grad_x,
                     float* grad_weights, float* grad_bias, float* grad_out) {
    const Shape s = shape_of(n);
    const auto w = static_cast<const uint32_t*>(weights);
    const auto m = static_cast<const uint32_t*>(maps);
    const auto p = static_cast<uint16_t*>(planes);
    const auto gm = static_cast<uint32_t*>(grad_maps);
    const auto gp = static_cast<uint16_t*>(grad_planes);
    if (half)
        Engine<true>{s}.backward(grad, w, out_weight, m, p, gm, gp, grad_x, grad_weights, grad_bias, grad_out);
    else Engine<false>{s}.backward(grad, w, out_weight, m, p, gm, gp, grad_x, grad_weights, grad_bias, grad_out);
}
}
