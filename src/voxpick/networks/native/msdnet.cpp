// The functions that Python calls. half: bf16 instead of float, where compiled for it. All numbers of a shape: see shape_of.
#include "gradients.h"

using namespace msdnet;

extern "C" {

// What the caller allocates for the forward or the backward pass: 4-byte words of maps, bf16 values of planes, floats of
// sums.
void msdnet_sizes(const int64_t* n, int64_t half, int64_t backward, int64_t* sizes) {
    const Shape s = shape_of(n);
    const int64_t pairs = s.depth + (backward ? 0 : 1);
    sizes[0] = GAP + pairs * (half ? 1 : 2) * s.map() + 32;
    sizes[1] = half ? PLANAR_GAP + pairs * 2 * s.plane() + 64 : 0;
    const auto sums = [&](auto engine, auto gradients) {
        sizes[2] = (backward ? gradients.waiting() : engine.waiting()) + 32;
        if (backward && engine.tiled()) sizes[1] = gradients.woven() + 64;
    };
#ifdef __AVX512BF16__
    if (half) return sums(Engine<true>{s}, Gradients<true>{{{s}}});
#endif
    sums(Engine<false>{s}, Gradients<false>{{{s}}});
}

void msdnet_forward(const int64_t* n, int64_t half, const float* x, const void* weights, const float* bias,
                    const float* out_weight, const float* out_bias, void* maps, void* planes, float* sums,
                    float* logits) {
    const Shape s = shape_of(n);
    const auto w = static_cast<const uint32_t*>(weights);
    const auto m = static_cast<uint32_t*>(maps);
    const auto p = static_cast<uint16_t*>(planes);
#ifdef __AVX512BF16__
    if (half) return Engine<true>{s}.forward(x, w, bias, out_weight, out_bias, m, p, sums, logits);
#endif
    Engine<false>{s}.forward(x, w, bias, out_weight, out_bias, m, p, sums, logits);
}

void msdnet_backward(const int64_t* n, int64_t half, const float* grad, const void* weights, const float* out_weight,
                     const void* maps, void* planes, void* grad_maps, void* grad_planes, float* sums, float* grad_x,
                     float* grad_weights, float* grad_bias, float* grad_out) {
    const Shape s = shape_of(n);
    const auto w = static_cast<const uint32_t*>(weights);
    const auto m = static_cast<const uint32_t*>(maps);
    const auto p = static_cast<uint16_t*>(planes);
    const auto gm = static_cast<uint32_t*>(grad_maps);
    const auto gp = static_cast<uint16_t*>(grad_planes);
#ifdef __AVX512BF16__
    if (half)
        return Gradients<true>{{{s}}}.backward(grad, w, out_weight, m, p, gm, gp, sums, grad_x, grad_weights, grad_bias,
                                             grad_out);
#endif
    Gradients<false>{{{s}}}.backward(grad, w, out_weight, m, p, gm, gp, sums, grad_x, grad_weights, grad_bias, grad_out);
}
}
