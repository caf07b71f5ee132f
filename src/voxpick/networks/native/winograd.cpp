// 3x3x3 convolutions in float32 with fewer products: Winograd's F(2, 3) along z and F(4, 3) along y and x.
//
// Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, CVPR (arXiv:1509.09308). A tile is 4 x 4
// voxels of a plane. It is read with its neighbours, 6 x 6, and changed into 36 spots; four planes of them are changed
// along z. There a convolution is one product a spot, which are matrix products over channels for all tiles at once: 144
// products do what takes 864. Maps lie channels last: volume, z, y, x, channel. Work is cut into bands of tiles, each of
// which goes through z, two planes of results at a time.
#include "team.h"
#include "vector.h"

namespace winograd {

using namespace native;

constexpr int64_t SIDE = 4, WIDE = 6, SPOTS = WIDE * WIDE;
constexpr int64_t DEEP = 4;      // planes of spots for two planes of results
constexpr int64_t BAND = 12;      // tiles whose spots are held at a time; a multiple of ROWS
constexpr int64_t BROAD = 24;     // the same for gradients of weights, where sums are read and written once a band
constexpr int64_t MOST = 1024;    // channels
constexpr int64_t THIN = 4;       // pairs of planes a unit of work has at least, as it begins by changing two more
constexpr int ROWS = LANES == 16 ? 12 : 6;  // tiles whose sums are in registers, for two vectors of outputs
constexpr int TAKEN = LANES / 2;            // the same for gradients of weights: inputs
static_assert(BAND % ROWS == 0 && LANES % TAKEN == 0);
alignas(64) static const float NOTHING[MOST] = {};

struct Job {
    int64_t batch, z, y, x, inputs, outputs, threads, cut;  // cut: values below 0 become 0
    int64_t band;
    const float *weights, *bias, *added;  // as `packed` in winograd.py gives them; null: none
    float* out;

    int64_t across() const { return (x + SIDE - 1) / SIDE; }
    int64_t tiles() const { return across() * ((y + SIDE - 1) / SIDE); }
    // Floats from one spot to the next; no power of two, so that the spots of a tile fall into different sets of a cache.
    int64_t step_in() const { return band * inputs + 16; }
    int64_t step_out() const { return band * outputs + 16; }
    int64_t bands() const { return (tiles() + band - 1) / band; }
};

// What the filter's taps 1, 2, 3 see of six neighbours, for five points and infinity.
inline void into_spots(const Floats (&d)[WIDE], Floats* spots) {
    const Floats p = fma(every(-4.f), d[2], d[4]), q = fma(every(-4.f), d[1], d[3]);
    const Floats r = less(d[4], d[2]), s = times(every(2.f), less(d[3], d[1]));
    spots[0] = fma(every(4.f), d[0], fma(every(-5.f), d[2], d[4]));
    spots[1] = add(p, q);
    spots[2] = less(p, q);
    spots[3] = add(r, s);
    spots[4] = less(r, s);
    spots[5] = fma(every(4.f), d[1], fma(every(-5.f), d[3], d[5]));
}

inline void from_spots(const Floats (&m)[WIDE], Floats* voxels) {
    const Floats p = add(m[1], m[2]), q = less(m[1], m[2]), r = add(m[3], m[4]), s = less(m[3], m[4]);
    voxels[0] = add(m[0], add(p, r));
    voxels[1] = fma(every(2.f), s, q);
    voxels[2] = fma(every(4.f), r, p);
    voxels[3] = add(fma(every(8.f), s, q), m[5]);
}

// Spots of `count` tiles from `first` on of a plane; null: a plane of zeros beyond the volume.
inline void change(const Job& j, const float* plane, int64_t first, int64_t count, float* spots) {
    for (int64_t t = 0; t < count; ++t) {
        const int64_t y = (first + t) / j.across() * SIDE - 1, x = (first + t) % j.across() * SIDE - 1;
        const float* from[WIDE][WIDE];
        for (int64_t a = 0; a < WIDE; ++a)
            for (int64_t b = 0; b < WIDE; ++b) {
                const bool inside = plane && y + a >= 0 && y + a < j.y && x + b >= 0 && x + b < j.x;
                from[a][b] = inside ? plane + ((y + a) * j.x + x + b) * j.inputs : NOTHING;
            }
        for (int64_t c = 0; c < j.inputs; c += LANES) {
            Floats along_y[WIDE][WIDE];  // spot along y, voxel along x
            for (int b = 0; b < WIDE; ++b) {
                Floats column[WIDE], changed[WIDE];
                for (int a = 0; a < WIDE; ++a) column[a] = load_any(from[a][b] + c);
                into_spots(column, changed);
                for (int a = 0; a < WIDE; ++a) along_y[a][b] = changed[a];
            }
            float* to = spots + t * j.inputs + c;
            for (int a = 0; a < WIDE; ++a) {
                Floats changed[WIDE];
                into_spots(along_y[a], changed);
                for (int b = 0; b < WIDE; ++b) put_any(to + (a * WIDE + b) * j.step_in(), changed[b]);
            }
        }
    }
}

// ROWS tiles times the weights of V vectors of outputs, summed over all inputs.
template <int V>
inline void multiply(const Job& j, const float* from, const float* weights, float* to) {
    Floats sums[ROWS][V];
    for (auto& row : sums)
        for (auto& sum : row) sum = every(0.f);
    for (int64_t c = 0; c < j.inputs; ++c, weights += V * LANES) {
        Floats w[V];
        for (int k = 0; k < V; ++k) w[k] = load_any(weights + k * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            const Floats value = every(from[r * j.inputs + c]);
#pragma GCC unroll 2
            for (int k = 0; k < V; ++k) sums[r][k] = fma(value, w[k], sums[r][k]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int k = 0; k < V; ++k) put_any(to + r * j.outputs + k * LANES, sums[r][k]);
}

// A band of tiles times all weights of a spot.
inline void multiply_all(const Job& j, const float* from, const float* weights, float* to) {
    for (int64_t k = 0; k < j.outputs;) {
        const int64_t vectors = k + 2 * LANES <= j.outputs ? 2 : 1;
        for (int64_t t = 0; t < j.band; t += ROWS) {
            if (vectors == 2) multiply<2>(j, from + t * j.inputs, weights, to + t * j.outputs + k);
            else multiply<1>(j, from + t * j.inputs, weights, to + t * j.outputs + k);
        }
        weights += j.inputs * vectors * LANES;
        k += vectors * LANES;
    }
}

// A spot of `size` values changed along z, from four planes.
inline void change_deep(const float* const (&planes)[DEEP], int64_t at, int64_t size, float* deep) {
    for (int64_t i = 0; i < size; i += LANES) {
        Floats d[DEEP];
        for (int k = 0; k < DEEP; ++k) d[k] = load_any(planes[k] + at + i);
        put_any(deep + i, less(d[0], d[2]));
        put_any(deep + size + i, add(d[1], d[2]));
        put_any(deep + 2 * size + i, less(d[2], d[1]));
        put_any(deep + 3 * size + i, less(d[1], d[3]));
    }
}

// Two planes of spots of results from four of maps. deep: room for DEEP spots of a band of maps, and of results.
inline void convolve_spots(const Job& j, const float* const (&planes)[DEEP], float* deep, float* (&results)[2]) {
    const int64_t size_in = j.band * j.inputs, size_out = j.band * j.outputs;
    float* sums = deep + DEEP * size_in;
    for (int64_t spot = 0; spot < SPOTS; ++spot) {
        change_deep(planes, spot * j.step_in(), size_in, deep);
        for (int64_t k = 0; k < DEEP; ++k)
            multiply_all(j, deep + k * size_in, j.weights + (spot * DEEP + k) * j.inputs * j.outputs, sums + k * size_out);
        for (int64_t i = 0; i < size_out; i += LANES) {
            const Floats p = load_any(sums + size_out + i), q = load_any(sums + 2 * size_out + i);
            put_any(results[0] + spot * j.step_out() + i, add(load_any(sums + i), add(p, q)));
            put_any(results[1] + spot * j.step_out() + i, less(less(p, q), load_any(sums + 3 * size_out + i)));
        }
    }
}

// Voxels of a plane from their spots: ReLU of the sum with bias and `added`. NaN stays, as the larger of 0 and NaN is
// the second of the two.
inline void finish(const Job& j, const float* spots, int64_t first, int64_t count, int64_t plane) {
    for (int64_t t = 0; t < count; ++t) {
        const int64_t y = (first + t) / j.across() * SIDE, x = (first + t) % j.across() * SIDE;
        const int64_t high = std::min(SIDE, j.y - y), wide = std::min(SIDE, j.x - x);
        for (int64_t k = 0; k < j.outputs; k += LANES) {
            const float* from = spots + t * j.outputs + k;
            const Floats start = j.bias ? load_any(j.bias + k) : every(0.f);
            Floats along_y[SIDE][WIDE];  // voxel along y, spot along x
            for (int b = 0; b < WIDE; ++b) {
                Floats column[WIDE], changed[SIDE];
                for (int a = 0; a < WIDE; ++a) column[a] = load_any(from + (a * WIDE + b) * j.step_out());
                from_spots(column, changed);
                for (int a = 0; a < SIDE; ++a) along_y[a][b] = changed[a];
            }
            for (int64_t a = 0; a < high; ++a) {
                Floats voxels[SIDE];
                from_spots(along_y[a], voxels);
                for (int64_t b = 0; b < wide; ++b) {
                    const int64_t at = ((plane * j.y + y + a) * j.x + x + b) * j.outputs + k;
                    Floats value = add(voxels[b], start);
                    if (j.added) value = add(value, load_any(j.added + at));
                    put_any(j.out + at, j.cut ? larger(every(0.f), value) : value);
                }
            }
        }
    }
}

// Planes from .. to of a volume, in one band of tiles.
inline void convolve(Job j, const float* volume, int64_t b, int64_t first, int64_t from, int64_t to) {
    const int64_t count = std::min(j.band, j.tiles() - first);
    j.band = (count + ROWS - 1) / ROWS * ROWS;
    static thread_local std::vector<float> storage;
    const int64_t plane_in = SPOTS * j.step_in(), plane_out = SPOTS * j.step_out();
    storage.resize(DEEP * plane_in + 2 * plane_out + DEEP * j.band * (j.inputs + j.outputs));
    float* results[2] = {storage.data() + DEEP * plane_in, storage.data() + DEEP * plane_in + plane_out};
    float* deep = results[1] + plane_out;
    const auto place = [&](int64_t z) { return storage.data() + (z + DEEP) % DEEP * plane_in; };
    const auto changed = [&](int64_t z) {
        const bool inside = z >= 0 && z < j.z;
        change(j, inside ? volume + z * j.y * j.x * j.inputs : nullptr, first, count, place(z));
    };
    changed(from - 1);
    changed(from);
    for (int64_t z = from; z < to; z += 2) {
        changed(z + 1);
        changed(z + 2);
        const float* const planes[DEEP] = {place(z - 1), place(z), place(z + 1), place(z + 2)};
        convolve_spots(j, planes, deep, results);
        for (int64_t k = 0; k < std::min<int64_t>(2, to - z); ++k) finish(j, results[k], first, count, b * j.z + z + k);
    }
}

// What gradients of four voxels give to six spots: `from_spots` backwards.
inline void back_to_spots(const Floats (&g)[SIDE], Floats* spots) {
    const Floats p = add(g[0], g[2]), q = add(g[1], g[3]);
    const Floats r = fma(every(4.f), g[2], g[0]), s = times(every(2.f), fma(every(4.f), g[3], g[1]));
    spots[0] = g[0];
    spots[1] = add(p, q);
    spots[2] = less(p, q);
    spots[3] = add(r, s);
    spots[4] = less(r, s);
    spots[5] = g[3];
}

// Spots of the gradients of `count` tiles from `first` on of a plane; null: zeros.
inline void change_back(const Job& j, const float* plane, int64_t first, int64_t count, float* spots) {
    for (int64_t t = 0; t < count; ++t) {
        const int64_t y = (first + t) / j.across() * SIDE, x = (first + t) % j.across() * SIDE;
        for (int64_t k = 0; k < j.outputs; k += LANES) {
            Floats along_y[WIDE][SIDE];
            for (int64_t b = 0; b < SIDE; ++b) {
                Floats column[SIDE], changed[WIDE];
                for (int64_t a = 0; a < SIDE; ++a) {
                    const bool inside = plane && y + a < j.y && x + b < j.x;
                    column[a] = inside ? load_any(plane + ((y + a) * j.x + x + b) * j.outputs + k) : every(0.f);
                }
                back_to_spots(column, changed);
                for (int a = 0; a < WIDE; ++a) along_y[a][b] = changed[a];
            }
            float* to = spots + t * j.outputs + k;
            for (int a = 0; a < WIDE; ++a) {
                Floats changed[WIDE];
                back_to_spots(along_y[a], changed);
                for (int b = 0; b < WIDE; ++b) put_any(to + (a * WIDE + b) * j.step_out(), changed[b]);
            }
        }
    }
}

// sums [inputs, outputs] += TAKEN inputs times V vectors of outputs' gradients, over a band of tiles.
template <int V>
inline void take(const Job& j, const float* values, const float* gradients, float* to) {
    Floats sums[TAKEN][V];
    for (int r = 0; r < TAKEN; ++r)
        for (int k = 0; k < V; ++k) sums[r][k] = load_any(to + r * j.outputs + k * LANES);
    for (int64_t t = 0; t < j.band; ++t, values += j.inputs, gradients += j.outputs) {
        Floats g[V];
        for (int k = 0; k < V; ++k) g[k] = load_any(gradients + k * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < TAKEN; ++r) {
            const Floats value = every(values[r]);
#pragma GCC unroll 2
            for (int k = 0; k < V; ++k) sums[r][k] = fma(value, g[k], sums[r][k]);
        }
    }
    for (int r = 0; r < TAKEN; ++r)
        for (int k = 0; k < V; ++k) put_any(to + r * j.outputs + k * LANES, sums[r][k]);
}

// Gradients of the weights of all spots from four planes of maps and two of gradients.
inline void take_all(const Job& j, const float* const (&planes)[DEEP], const float* const (&gradients)[2], float* deep,
                     float* to) {
    const int64_t size_in = j.band * j.inputs, size_out = j.band * j.outputs;
    float* back = deep + DEEP * size_in;
    for (int64_t spot = 0; spot < SPOTS; ++spot) {
        change_deep(planes, spot * j.step_in(), size_in, deep);
        for (int64_t i = 0; i < size_out; i += LANES) {
            const Floats p = load_any(gradients[0] + spot * j.step_out() + i);
            const Floats q = load_any(gradients[1] + spot * j.step_out() + i);
            put_any(back + i, p);
            put_any(back + size_out + i, add(p, q));
            put_any(back + 2 * size_out + i, less(p, q));
            put_any(back + 3 * size_out + i, less(every(0.f), q));
        }
        for (int64_t d = 0; d < DEEP; ++d, to += j.inputs * j.outputs)
            for (int64_t k = 0; k < j.outputs;) {
                const int64_t vectors = k + 2 * LANES <= j.outputs ? 2 : 1;
                for (int64_t c = 0; c < j.inputs; c += TAKEN) {
                    const float *values = deep + d * size_in + c, *g = back + d * size_out + k;
                    if (vectors == 2) take<2>(j, values, g, to + c * j.outputs + k);
                    else take<1>(j, values, g, to + c * j.outputs + k);
                }
                k += vectors * LANES;
            }
    }
}

// Gradients of weights from one band of tiles of a volume.
inline void weigh(Job j, const float* volume, const float* gradients, int64_t first, float* to) {
    const int64_t count = std::min(j.band, j.tiles() - first), plane = j.y * j.x;
    j.band = count;
    static thread_local std::vector<float> storage;
    const int64_t plane_in = SPOTS * j.step_in(), plane_out = SPOTS * j.step_out();
    storage.resize(DEEP * plane_in + 2 * plane_out + DEEP * j.band * (j.inputs + j.outputs));
    float* back[2] = {storage.data() + DEEP * plane_in, storage.data() + DEEP * plane_in + plane_out};
    const auto place = [&](int64_t z) { return storage.data() + (z + DEEP) % DEEP * plane_in; };
    const auto changed = [&](int64_t z) {
        change(j, z >= 0 && z < j.z ? volume + z * plane * j.inputs : nullptr, first, count, place(z));
    };
    changed(-1);
    changed(0);
    for (int64_t z = 0; z < j.z; z += 2) {
        changed(z + 1);
        changed(z + 2);
        for (int64_t k = 0; k < 2; ++k)
            change_back(j, z + k < j.z ? gradients + (z + k) * plane * j.outputs : nullptr, first, count, back[k]);
        const float* const planes[DEEP] = {place(z - 1), place(z), place(z + 1), place(z + 2)};
        take_all(j, planes, {back[0], back[1]}, back[1] + plane_out, to);
    }
}

}  // namespace winograd

extern "C" {

// Channels come in vectors of so many floats.
int64_t winograd_lanes() { return native::LANES; }

// out = convolution(x) + bias + added on n = batch, z, y, x, inputs, outputs, threads, whether values below 0 become 0;
// channels last, zero-padded.
void winograd_convolve(const int64_t* n, const float* x, const float* weights, const float* bias, const float* added,
                       float* out) {
    using namespace winograd;
    const Job j{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], BAND, weights, bias, added, out};
    const int64_t bands = j.bands(), pairs = (j.z + 1) / 2;
    if (j.batch * bands * pairs == 0) return;  // no voxels
    const int64_t wanted = std::max<int64_t>(1, 4 * j.threads / (j.batch * bands));
    const int64_t parts = j.threads > 1 ? std::clamp<int64_t>(pairs / THIN, 1, wanted) : 1;
    native::share(j.threads, j.batch * bands * parts, [&](int64_t unit) {
        const int64_t band = unit % bands, part = unit / bands % parts, b = unit / bands / parts;
        const int64_t from = 2 * (pairs * part / parts), to = std::min(j.z, 2 * (pairs * (part + 1) / parts));
        convolve(j, x + b * j.z * j.y * j.x * j.inputs, b, band * BAND, from, to);
    });
}

// Parts that `winograd_weigh` adds up each by itself: one a thread, but no more than there are bands.
int64_t winograd_parts(const int64_t* n) {
    using namespace winograd;
    const Job j{n[0], n[1], n[2], n[3], n[4], n[5], n[6], 0, BROAD, nullptr, nullptr, nullptr, nullptr};
    return std::clamp<int64_t>(j.batch * j.bands(), 1, std::max<int64_t>(j.threads, 1));
}

// sums [parts, spots, inputs, outputs], zeros at first: gradients of the weights at the points, from those of the
// results, as many as `winograd_parts` says.
void winograd_weigh(const int64_t* n, const float* x, const float* gradients, float* sums) {
    using namespace winograd;
    const Job j{n[0], n[1], n[2], n[3], n[4], n[5], n[6], 0, BROAD, nullptr, nullptr, nullptr, nullptr};
    const int64_t units = j.batch * j.bands(), volume = j.z * j.y * j.x, parts = winograd_parts(n);
    native::share(j.threads, parts, [&](int64_t part) {
        float* to = sums + part * SPOTS * DEEP * j.inputs * j.outputs;
        for (int64_t u = units * part / parts; u < units * (part + 1) / parts; ++u) {
            const int64_t b = u / j.bands();
            weigh(j, x + b * volume * j.inputs, gradients + b * volume * j.outputs, u % j.bands() * BROAD, to);
        }
    });
}
}
