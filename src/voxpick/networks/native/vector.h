// Vectors of floats: 16 lanes with AVX-512, 8 with AVX2. bf16 needs AVX-512 BF16; elsewhere it is declared, not defined.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace native {

#ifdef __AVX512F__

constexpr int LANES = 16;
using Floats = __m512;
using Words = __m512i;  // floats, or pairs of bf16
using Mask = __mmask16;

inline Floats load(const float* from) { return _mm512_load_ps(from); }  // aligned
inline Floats load_any(const void* from) { return _mm512_loadu_ps(from); }
inline Words words(const void* from) { return _mm512_loadu_si512(from); }
inline Words every(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
inline Floats every(float value) { return _mm512_set1_ps(value); }
inline void put(float* to, Floats v) { _mm512_store_ps(to, v); }  // aligned
inline void put_any(void* to, Floats v) { _mm512_storeu_ps(to, v); }
inline Floats fma(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
inline Floats fma(Words a, Words b, Floats sum) { return fma(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats less(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline float total(Floats v) { return _mm512_reduce_add_ps(v); }
inline Mask lanes(int64_t count) {  // the first `count`
    return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<Mask>((1u << count) - 1);
}
inline Floats load_some(Mask m, const float* from) { return _mm512_maskz_loadu_ps(m, from); }
inline void put_some(float* to, Mask m, Floats v) { _mm512_mask_storeu_ps(to, m, v); }
inline Floats only(Mask m, Floats v) { return _mm512_maskz_mov_ps(m, v); }
// v, times `factor` where `sign` is not above zero.
inline Floats scaled_where_low(Floats v, Floats sign, Floats factor) {
    return _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(sign, _mm512_setzero_ps(), _CMP_LE_OQ), v, factor);
}

#else

constexpr int LANES = 8;
using Floats = __m256;
using Words = __m256i;
using Mask = __m256i;

inline Floats load(const float* from) { return _mm256_load_ps(from); }
inline Floats load_any(const void* from) { return _mm256_loadu_ps(static_cast<const float*>(from)); }
inline Words words(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline Words every(uint32_t word) { return _mm256_set1_epi32(static_cast<int>(word)); }
inline Floats every(float value) { return _mm256_set1_ps(value); }
inline void put(float* to, Floats v) { _mm256_store_ps(to, v); }
inline void put_any(void* to, Floats v) { _mm256_storeu_ps(static_cast<float*>(to), v); }
inline Floats fma(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
inline Floats fma(Words a, Words b, Floats sum) { return fma(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), sum); }
inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats less(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline float total(Floats v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline Mask lanes(int64_t count) {
    const int n = count >= 8 ? 8 : count <= 0 ? 0 : static_cast<int>(count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Floats load_some(Mask m, const float* from) { return _mm256_maskload_ps(from, m); }
inline void put_some(float* to, Mask m, Floats v) { _mm256_maskstore_ps(to, m, v); }
inline Floats only(Mask m, Floats v) { return _mm256_and_ps(_mm256_castsi256_ps(m), v); }
inline Floats scaled_where_low(Floats v, Floats sign, Floats factor) {
    return _mm256_blendv_ps(v, times(v, factor), _mm256_cmp_ps(sign, _mm256_setzero_ps(), _CMP_LE_OQ));
}

#endif

#ifdef __AVX512BF16__

// sum + the products of the pairs of bf16 in a and b.
inline Floats dot(Words a, Words b, Floats sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

// The first and the second of 16 pairs of bf16, as float.
inline void take_pairs(const uint32_t* from, Floats& a, Floats& b) {
    const Words both = words(from);
    a = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    b = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

// 16 pairs as bf16, and, where `first` is not null, each channel by itself.
inline void put_pairs(uint32_t* to, uint16_t* first, uint16_t* second, Floats a, Floats b) {
    const __m256i p = (__m256i)_mm512_cvtneps_pbh(a), q = (__m256i)_mm512_cvtneps_pbh(b);
    _mm512_storeu_si512(to, _mm512_or_si512(_mm512_cvtepu16_epi32(p), _mm512_slli_epi32(_mm512_cvtepu16_epi32(q), 16)));
    if (!first) return;
    _mm256_storeu_si256((__m256i*)first, p);
    _mm256_storeu_si256((__m256i*)second, q);
}

#else

Floats dot(Words a, Words b, Floats sum);
void take_pairs(const uint32_t* from, Floats& a, Floats& b);
void put_pairs(uint32_t* to, uint16_t* first, uint16_t* second, Floats a, Floats b);

#endif

}  // namespace native
