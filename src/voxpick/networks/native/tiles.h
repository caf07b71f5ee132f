// Matrix tiles (AMX): up to sixteen outputs at sixteen voxels, from up to sixteen pairs of bf16 maps in one instruction.
//
// A tile holds sixteen rows of 64 bytes. For a convolution the voxels are the columns of the second factor, a row of it
// sixteen words of one map, so maps are read as they lie; the first factor holds the weights of one tap.
#pragma once

#include "shape.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>
#endif

namespace msdnet {

constexpr int64_t SIDE = 16;  // rows of a tile, and words of a row

// Maps of one dilation, `count` of them `stride` words apart, convolved into `outputs` outputs.
struct Spread {
    const uint32_t* from;     // first voxel of the first map
    int64_t stride, count;    // at most 16
    int64_t dilation;
    const uint32_t* weights;  // [27][outputs][16]: words of weights of each map, with nothing beyond the last
    int64_t outputs;          // at most 16
    float* sums;              // of output o at voxel x of row r: sums[r * row + o * padded + x]
    int64_t row;
    const float* start;       // [outputs][16]: where sums begin; null: they are added to
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
inline void tile_store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
inline void tile_multiply() {
    asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(B), "i"(A), "i"(C));
}

// Shapes of this thread's tiles while alive: the sums in `sums` tiles, then `first` tiles and the rest as factors.
class TileShapes {
  public:
    TileShapes(int sums, int first, int64_t rows, int64_t words) {
        alignas(64) Settings settings;
        for (int t = 0; t < 8; ++t) {
            settings.rows[t] = static_cast<uint8_t>(t < sums + first ? rows : words);
            settings.bytes[t] = static_cast<uint16_t>(t < sums || t >= sums + first ? 64 : 4 * words);
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

// NR rows of NX vectors from y and x on, in plane z of one volume.
template <int NR, int NX>
inline void spread_tile(const Shape& s, const Spread& w, int64_t volume, int64_t z, int64_t y, int64_t x) {
    float* sums = w.sums + ((volume * s.z + z) * s.y + y) * w.row + x;
    unrolled<NR * NX>([&](auto c) {
        constexpr int C = c;
        if (w.start) tile_load<C>(w.start, 64);
        else tile_load<C>(sums + C / NX * w.row + C % NX * SIDE, s.padded * 4);
    });
    for (int dz = 0; dz < 3; ++dz) {
        const int64_t zz = z + (dz - 1) * w.dilation;
        if (zz < 0 || zz >= s.z) continue;
        for (int dy = 0; dy < 3; ++dy) {
            const int64_t first = y + (dy - 1) * w.dilation;
            if (first + NR <= 0 || first >= s.y) continue;
            const uint32_t* rows[NR];
            int64_t strides[NR];
            for (int r = 0; r < NR; ++r) {
                const bool inside = first + r >= 0 && first + r < s.y;
                rows[r] = inside ? w.from + ((volume * s.z + zz) * s.y + first + r) * s.row + x : ZEROS + GAP;
                strides[r] = inside ? w.stride * 4 : 0;
            }
            const uint32_t* weights = w.weights + (dz * 3 + dy) * 3 * w.outputs * SIDE;
            unrolled<3>([&](auto dx) {
                constexpr int A = 4 + dx % 2;
                tile_load<A>(weights + dx * w.outputs * SIDE, 64);
                unrolled<NR * NX>([&](auto c) {
                    constexpr int C = c, B = 6 + c % 2;
                    tile_load<B>(rows[C / NX] + (dx - 1) * w.dilation + C % NX * SIDE, strides[C / NX]);
                    tile_multiply<C, A, B>();
                });
            });
        }
    }
    unrolled<NR * NX>([&](auto c) {
        constexpr int C = c;
        tile_store<C>(sums + C / NX * w.row + C % NX * SIDE, s.padded * 4);
    });
}

// The maps are read while in the second-level cache: planes one dilation apart follow each other, in strips of rows.
inline void spread(Team& team, const Shape& s, const Spread& w) {
    constexpr int64_t cached = 1 << 18;  // words of three planes of a strip
    const int64_t d = w.dilation, most = cached / (3 * w.count * s.row) - 2 * d;
    const int64_t strips = (s.y + std::max<int64_t>(most, 16) - 1) / std::max<int64_t>(most, 16);
    const int64_t high = ((s.y + strips - 1) / strips + 3) / 4 * 4;
    struct Unit {
        int64_t volume, first, count, y;
    };
    std::vector<Unit> units;
    const int64_t wanted = (s.batch * s.z + 4 * s.threads - 1) / (4 * s.threads);
    for (int64_t b = 0; b < s.batch; ++b)
        for (int64_t y = 0; y < s.y; y += high)
            for (int64_t phase = 0; phase < std::min(d, s.z); ++phase) {
                const int64_t planes = (s.z - phase + d - 1) / d, parts = (planes + wanted - 1) / wanted;
                for (int64_t part = 0; part < parts; ++part) {
                    const int64_t from = planes * part / parts, to = planes * (part + 1) / parts;
                    units.push_back({b, phase + from * d, to - from, y});
                }
            }
    team.each(static_cast<int64_t>(units.size()), [&](int64_t n) {
        const Unit& unit = units[n];
        const TileShapes shapes(4, 2, w.outputs, w.count);
        const int64_t stop = std::min(s.y, unit.y + high);
        for (int64_t k = 0; k < unit.count; ++k) {
            const int64_t z = unit.first + k * d;
            for (int64_t x = 0; x < s.padded;) {
                const int64_t left = (s.padded - x) / SIDE;
                const auto column = [&]<int NR, int NX>() {
                    int64_t y = unit.y;
                    for (; y + NR <= stop; y += NR) spread_tile<NR, NX>(s, w, unit.volume, z, y, x);
                    for (; y < stop; ++y) spread_tile<1, NX>(s, w, unit.volume, z, y, x);
                    x += NX * SIDE;
                };
                if (left == 1) column.template operator()<4, 1>();
                else if (left == 3) column.template operator()<1, 3>();
                else if (left % 4 == 2) column.template operator()<2, 2>();
                else column.template operator()<1, 4>();
            }
        }
    });
}

#else

inline bool has_tiles() { return false; }
inline void spread(Team&, const Shape&, const Spread&) {}

#endif

// The weights of a Spread: word(output, map) points to those of the first tap, one tap lies `step` words after another.
template <class F>
inline std::vector<uint32_t> tile_weights(int64_t outputs, int64_t count, int64_t step, F word) {
    std::vector<uint32_t> packed(27 * outputs * SIDE, 0);
    for (int64_t o = 0; o < outputs; ++o)
        for (int64_t k = 0; k < count; ++k) {
            const uint32_t* from = word(o, k);
            if (!from) continue;
            for (int64_t tap = 0; tap < 27; ++tap) packed[(tap * outputs + o) * SIDE + k] = from[tap * step];
        }
    return packed;
}

}  // namespace msdnet
