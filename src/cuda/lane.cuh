// Small steps that several kernels share.
#pragma once
#include "device.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// One step of `warp_sums`: half of the values change hands over `BIT` lanes.
template <int N, int HALF, int BIT>
__device__ __forceinline__ void exchange_halves(float (&values)[N]) {
    if constexpr (HALF >= 1) {
        const bool upper = (threadIdx.x & BIT) != 0;
#pragma unroll
        for (int i = 0; i < HALF; i++) {
            const float sent = upper ? values[i] : values[i + HALF];
            const float kept = upper ? values[i + HALF] : values[i];
            values[i] = kept + __shfl_xor_sync(ALL_LANES, sent, BIT);
        }
        exchange_halves<N, HALF / 2, BIT / 2>(values);
    }
}

// Sums N values each over the warp (N a power of two up to 32). Lane i gets the sum of value i · N / 32: half of the
// values change hands at each step, so 32 sums cost 31 shuffles.
template <int N>
__device__ __forceinline__ float warp_sums(float (&values)[N]) {
    exchange_halves<N, N / 2, 16>(values);
    float sum = values[0];
#pragma unroll
    for (int bit = 16 / N; bit >= 1; bit /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, bit);
    return sum;
}

__device__ __forceinline__ float load_value(const void* values, long long at, bool is_half) {
    return is_half ? half_to_float(static_cast<const half_bits*>(values)[at]) : static_cast<const float*>(values)[at];
}

// Two halves in one register, the first in the lower bits.
__device__ __forceinline__ unsigned pack_halves(half_bits first, half_bits second) {
    return static_cast<unsigned>(first) | (static_cast<unsigned>(second) << 16);
}

__device__ __forceinline__ float first_half(unsigned pair) { return half_to_float(static_cast<half_bits>(pair)); }
__device__ __forceinline__ float second_half(unsigned pair) { return half_to_float(static_cast<half_bits>(pair >> 16)); }

// Four neighbouring numbers from `at`, a multiple of 4.
__device__ __forceinline__ float4 load_four(const float* values, long long at) {
    return *reinterpret_cast<const float4*>(values + at);
}

__device__ __forceinline__ float4 unpack_four(unsigned first, unsigned second) {
    return make_float4(first_half(first), second_half(first), first_half(second), second_half(second));
}

__device__ __forceinline__ float4 load_four(const half_bits* values, long long at) {
    const uint2 pairs = *reinterpret_cast<const uint2*>(values + at);
    return unpack_four(pairs.x, pairs.y);
}

struct Eight {
    float4 left, right;
};

// Eight neighbouring numbers from `at`, a multiple of 8.
__device__ __forceinline__ Eight load_eight(const float* values, long long at) {
    return {load_four(values, at), load_four(values, at + 4)};
}

__device__ __forceinline__ Eight load_eight(const half_bits* values, long long at) {
    const uint4 pairs = *reinterpret_cast<const uint4*>(values + at);
    return {unpack_four(pairs.x, pairs.y), unpack_four(pairs.z, pairs.w)};
}

__device__ __forceinline__ float dot_four(float sum, float4 a, float4 b) {
    return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// Bits whose unsigned order is that of the numbers; 0 is none of a number's.
__device__ __forceinline__ unsigned ordered(float value) {
    const unsigned bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float from_ordered(unsigned bits) {
    return __uint_as_float(bits >> 31 ? bits & 0x7fffffffu : ~bits);
}

// The addresses of one tensor per tapped layer.
struct Addresses {
    const void* layer[8];
};
