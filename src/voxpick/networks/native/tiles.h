// Matrix tiles (AMX): up to sixteen sums at sixteen voxels, from up to sixteen pairs of bf16 maps in one instruction.
//
// A tile holds sixteen rows of 64 bytes. For a convolution the voxels are the columns of the second factor, a row of it
// sixteen words of one map, so maps are read as they lie; the first factor holds weights. Tiles that begin within a line
// of the cache are slow to load. So none does: taps that differ by their shift along x have sums of their own, which are
// shifted when they are added up. Those to the left and to the right share a tile, eight outputs each.
#pragma once

#include "shape.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>
#endif

namespace msdnet {

constexpr int64_t SIDE = 16;     // rows of a tile, and words of a row
constexpr int64_t OUTPUTS = 8;  // summed for at a time

// Maps of one dilation, `count` of them `stride` words apart, convolved into `outputs` outputs.
struct Spread {
    const uint32_t* from;     // first voxel of the first map
    int64_t stride, count;    // at most 16
    int64_t dilation;
    const uint32_t* weights;  // as `tile_weights` gives them
    int64_t outputs;          // at most OUTPUTS
    float* sums;              // of output o at voxel x of row r: sums[r * row + o * padded + x]
    int64_t row;
    const float* start;       // of each output: where sums begin; null: they are added to
};

#ifdef __AMX_BF16__

// The tiles' registers are the process's to use once it has asked.
inline bool has_tiles() {
    static const bool allowed = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return allowed;
}

template <int T>
inline void tile_load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
inline void tile_store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
inline void tile_multiply() {
    asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(B), "i"(A), "i"(C));
}

// Shapes of this thread's tiles while alive.
class TileShapes {
  public:
    struct Shape {
        int64_t rows, words;
    };
    explicit TileShapes(const Shape (&shapes)[8]) {
        alignas(64) Settings settings;
        for (int t = 0; t < 8; ++t) {
            settings.rows[t] = static_cast<uint8_t>(shapes[t].rows);
            settings.bytes[t] = static_cast<uint16_t>(4 * shapes[t].words);
        }
        asm volatile("ldtilecfg %0" ::"m"(settings));
    }
    ~TileShapes() { asm volatile("tilerelease" ::: "memory"); }
    TileShapes(const TileShapes&) = delete;

  private:
    struct Settings {
        uint8_t palette = 1, start = 0, unused[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    };
};

// f(0), f(1), .., each a constant.
template <int N, class F>
inline void unrolled(F f) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
        (f(std::integral_constant<int, I>{}), ...);
    }(std::make_integer_sequence<int, N>{});
}

// Row y of plane z of one volume. `apart` [left, right, middle][outputs][padded + 2 GAP]: the sums before they are shifted;
// zero in the gaps.
inline void spread_row(const Shape& s, const Spread& w, int64_t volume, int64_t z, int64_t y, float* apart) {
    const int64_t wide = s.padded + 2 * GAP, d = w.dilation;
    const uint32_t *rows[9], *weights[9];
    int taps = 0;
    for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t zz = z + (tap / 3 - 1) * d, yy = y + (tap % 3 - 1) * d;
        if (zz < 0 || zz >= s.z || yy < 0 || yy >= s.y) continue;
        rows[taps] = w.from + ((volume * s.z + zz) * s.y + yy) * s.row;
        weights[taps++] = w.weights + tap * 3 * w.outputs * SIDE;
    }
    float* const middle = apart + 2 * w.outputs * wide;
    const auto columns = [&]<int NX>(int64_t x) {
        unrolled<NX>([&](auto v) { tile_zero<v>(), tile_zero<2 + v>(); });
        for (int k = 0; k < taps; ++k) {
            tile_load<4>(weights[k], 64);
            unrolled<NX>([&](auto v) {
                tile_load<6 + v>(rows[k] + x + v * SIDE, w.stride * 4);
                tile_multiply<v, 4, 6 + v>();
            });
            tile_load<5>(weights[k] + 2 * w.outputs * SIDE, 64);
            unrolled<NX>([&](auto v) { tile_multiply<2 + v, 5, 6 + v>(); });
        }
        unrolled<NX>([&](auto v) {
            tile_store<v>(apart + GAP + x + v * SIDE, wide * 4);
            tile_store<2 + v>(middle + GAP + x + v * SIDE, wide * 4);
        });
    };
    int64_t x = 0;
    for (; x + 2 * SIDE <= s.padded; x += 2 * SIDE) columns.template operator()<2>(x);
    if (x < s.padded) columns.template operator()<1>(x);
    float* sums = w.sums + ((volume * s.z + z) * s.y + y) * w.row;
    for (int64_t o = 0; o < w.outputs; ++o, sums += s.padded) {
        const float *left = apart + o * wide + GAP - d, *right = apart + (w.outputs + o) * wide + GAP + d;
        for (int64_t at = 0; at < s.padded; at += LANES) {
            const Floats before = w.start ? every(w.start[o]) : load_any(sums + at);
            const Floats here = add(before, load_any(middle + o * wide + GAP + at));
            put_any(sums + at, add(here, add(load_any(left + at), load_any(right + at))));
        }
    }
}

// The maps are read while in the second-level cache: planes one dilation apart follow each other, in strips of rows.
inline void spread(Team& team, const Shape& s, const Spread& w) {
    constexpr int64_t cached = 1 << 18;  // words of three planes of a strip
    const int64_t d = w.dilation, most = cached / (3 * w.count * s.row) - 2 * d;
    const int64_t strips = (s.y + std::max<int64_t>(most, 16) - 1) / std::max<int64_t>(most, 16);
    const int64_t high = ((s.y + strips - 1) / strips + 3) / 4 * 4;
    const std::vector<Slab> slabs = cut(s, d, (s.batch * s.z + 4 * s.threads - 1) / (4 * s.threads), high);
    team.each(static_cast<int64_t>(slabs.size()), [&](int64_t n) {
        const Slab& slab = slabs[n];
        const int64_t m = w.outputs, k = w.count;
        const TileShapes shapes(
            {{2 * m, SIDE}, {2 * m, SIDE}, {m, SIDE}, {m, SIDE}, {2 * m, k}, {m, k}, {k, SIDE}, {k, SIDE}});
        static thread_local std::vector<float> storage;
        storage.assign(3 * m * (s.padded + 2 * GAP) + 16, 0.0f);
        float* const apart = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64 / 4;
        for (int64_t plane = 0; plane < slab.count; ++plane)
            for (int64_t y = slab.y; y < slab.y + slab.rows; ++y)
                spread_row(s, w, slab.volume, slab.first + plane * slab.step, y, apart);
    });
}

#else

inline bool has_tiles() { return false; }
inline void spread(Team&, const Shape&, const Spread&) {}

#endif

// The weights of a Spread, [9 taps along z and y][left, right, middle][outputs][16 maps]: word(output, map) points to those
// of the first tap, one tap lies two words after another.
template <class F>
inline std::vector<uint32_t> tile_weights(int64_t outputs, int64_t count, F word) {
    std::vector<uint32_t> packed(27 * outputs * SIDE, 0);
    constexpr int64_t place[3] = {0, 2, 1};
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t k = 0; k < count; ++k)
            for (int64_t tap = 0; tap < 27; ++tap)
                packed[((tap / 3 * 3 + place[tap % 3]) * outputs + o) * SIDE + k] = word(o, k)[2 * tap];
    return packed;
}

}  // namespace msdnet
