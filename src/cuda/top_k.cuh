// The mean of a map's k largest values, exactly: the k-th is found by counting the digits of the values' bits from the top.
//
// Blocks have THREADS threads each, and share a map. Somebody counts the first digit; count_digit finds it and counts the
// second, then the third; find_digit finds that, and sum_above adds up what is larger.
#pragma once
#include "lane.cuh"

constexpr int THREADS = 256;

// A value's bits are taken apart from the top into digits of 11, 11 and 10 bits: values are not negative, so their order
// is that of their bits.
constexpr int BINS = 2048;
constexpr int DIGITS = 3;

__device__ __forceinline__ int shift_of(int digit) { return digit == 0 ? 21 : digit == 1 ? 10 : 0; }
__device__ __forceinline__ unsigned digit_of(unsigned bits, int digit) {
    return digit == 2 ? bits & 1023u : (bits >> shift_of(digit)) & 2047u;
}

// What is known of a map's k-th largest value: its upper bits, and how many values are still wanted among those with
// these bits (the others wanted are larger).
struct Wanted {
    unsigned bits, remaining;
};

constexpr int BINS_EACH = BINS / THREADS;

// The whole block finds the digit at which the k-th largest value lies.
__device__ Wanted find_digit(const unsigned* counts, Wanted before, int digit) {
    __shared__ unsigned sums[2][THREADS];
    __shared__ Wanted found;
    const int thread = threadIdx.x;
    unsigned own = 0;
    for (int i = 0; i < BINS_EACH; i++) own += counts[thread * BINS_EACH + i];
    sums[0][thread] = own;
    __syncthreads();
    // Sums from each thread to the last.
    int from = 0;
    for (int offset = 1; offset < THREADS; offset *= 2) {
        sums[1 - from][thread] = sums[from][thread] + (thread + offset < THREADS ? sums[from][thread + offset] : 0u);
        from = 1 - from;
        __syncthreads();
    }
    unsigned above = sums[from][thread] - own;
    if (above < before.remaining && before.remaining <= above + own) {
        int bin = thread * BINS_EACH + BINS_EACH - 1;
        while (above + counts[bin] < before.remaining) above += counts[bin--];
        found.bits = before.bits | static_cast<unsigned>(bin) << shift_of(digit);
        found.remaining = before.remaining - above;
    }
    __syncthreads();
    return found;
}

// Finds the digit before `digit` from its counts, and counts `digit` among the values that share the bits found. What was
// found goes to `state`.
__device__ __forceinline__ void count_digit(const float* values, const unsigned* counts, unsigned* next, Wanted before,
                                            Wanted* state, int digit, int pixels) {
    __shared__ unsigned bins[BINS];
    for (int i = threadIdx.x; i < BINS; i += THREADS) bins[i] = 0;
    const Wanted now = find_digit(counts, before, digit - 1);
    if (blockIdx.x == 0 && threadIdx.x == 0) *state = now;
    const int shift = shift_of(digit - 1);
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < pixels; i += gridDim.x * THREADS) {
        const unsigned bits = __float_as_uint(values[i]);
        if (bits >> shift == now.bits >> shift) atomicAdd(&bins[digit_of(bits, digit)], 1u);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < BINS; i += THREADS) {
        if (bins[i] > 0) atomicAdd(next + i, bins[i]);
    }
}

// This block's share of the sum of the values whose bits are above `bits`, for its first thread, in a fixed order.
__device__ __forceinline__ double sum_above(const float* values, unsigned bits, int pixels) {
    __shared__ double sums[THREADS];
    double sum = 0.0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < pixels; i += gridDim.x * THREADS) {
        const float value = values[i];
        if (__float_as_uint(value) > bits) sum += value;
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[0];
}
