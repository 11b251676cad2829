// Joining: a memory's distances become a map, that map and the model's become one, and so do the scores.
//
// The arithmetic of src/memory/fusion.rs, where it is explained. The order of launches is patches, raise, maps_smooth twice
// (maps.cu), fuse, select (digit 1), select (digit 2), top. One picture at a time.
#include "top_k.cuh"

// As `Numbers` beside this file says.
struct Numbers {
    float middle, reach, neutral, floor, map_exponent, alone, score_exponent, own;
};

__device__ __forceinline__ float above_of(const Numbers& numbers, float value) { return (value - numbers.middle) / numbers.reach; }

// A probability whose odds are multiplied by the memory's.
__device__ __forceinline__ float multiplied(const Numbers& numbers, float probability, float exponent, float above) {
    const float p = fminf(fmaxf(probability, 1e-6f), 1.0f - 1e-6f);
    const float odds = p * powf(fmaxf(above, numbers.floor) / numbers.neutral, 4.0f * exponent);
    return odds / (odds + 1.0f - p);
}

// patches[patch] = square of the mean over the layers, each distance relative to good parts'.
extern "C" __global__ void __launch_bounds__(THREADS)
    join_patches(const float* distances, const float* means, float* patches, int count, int layers) {
    const int patch = blockIdx.x * THREADS + threadIdx.x;
    if (patch >= count) return;
    const float share = 1.0f / layers;
    float sum = 0.0f;
    for (int layer = 0; layer < layers; layer++) sum += share * distances[layer * count + patch] / means[layer];
    patches[patch] = sum * sum;
}

struct Tap {
    unsigned low;
    float weight;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    join_raise(const float* patches, const Tap* taps, float* map, int grid, int size) {
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= size) return;
    const Tap down = taps[y], across = taps[x];
    const int low = across.low, next = min(low + 1, grid - 1);
    const float* above = patches + down.low * grid;
    const float* below = patches + min(static_cast<int>(down.low) + 1, grid - 1) * grid;
    const float upper = above[low] + across.weight * (above[next] - above[low]);
    const float lower = below[low] + across.weight * (below[next] - below[low]);
    map[static_cast<long long>(y) * size + x] = upper + down.weight * (lower - upper);
}

// `memory` holds the smoothed squares, and their roots afterwards; how often each first digit of these occurs is counted.
extern "C" __global__ void __launch_bounds__(THREADS)
    join_fuse(float* memory, const float* model, float* fused, unsigned* counts, int pixels,
              const __grid_constant__ Numbers numbers) {
    __shared__ unsigned bins[BINS];
    for (int i = threadIdx.x; i < BINS; i += THREADS) bins[i] = 0;
    __syncthreads();
    const float neutral = numbers.neutral * numbers.neutral * numbers.neutral * numbers.neutral;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < pixels; i += gridDim.x * THREADS) {
        const float square = memory[i];
        const float value = square > 0.0f ? sqrtf(square) : 0.0f;
        memory[i] = value;
        atomicAdd(&bins[digit_of(__float_as_uint(value), 0)], 1u);
        const float above = above_of(numbers, value), positive = fmaxf(above, 0.0f);
        const float fourth = positive * positive * positive * positive;
        const float found = numbers.alone * fourth / (fourth + neutral);
        const float both = multiplied(numbers, model[i], numbers.map_exponent, above) + found;
        fused[i] = fminf(fmaxf(both, 0.0f), 1.0f);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < BINS; i += THREADS) {
        if (bins[i] > 0) atomicAdd(counts + i, bins[i]);
    }
}

// Finds one digit of the memory's k-th largest value from the counts of the last launch, and counts the next.
extern "C" __global__ void __launch_bounds__(THREADS)
    join_select(const float* memory, unsigned* counts, Wanted* states, int digit, int pixels, int top) {
    Wanted before = {0u, static_cast<unsigned>(top)};
    if (digit > 1) before = states[digit - 2];
    count_digit(memory, counts + (digit - 1) * BINS, counts + digit * BINS, before, states + digit - 1, digit, pixels);
}

// Sums the memory's values above the k-th, and with the last block makes the score of the model's.
extern "C" __global__ void __launch_bounds__(THREADS)
    join_top(const float* memory, unsigned* counts, Wanted* states, double* partial, const float* model, float* score,
             int pixels, int top, const __grid_constant__ Numbers numbers) {
    __shared__ bool is_last;
    const Wanted last = find_digit(counts + (DIGITS - 1) * BINS, states[DIGITS - 2], DIGITS - 1);
    const double sum = sum_above(memory, last.bits, pixels);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
        __threadfence();
        is_last = atomicAdd(counts + DIGITS * BINS, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        __threadfence();
        // Written by other blocks a moment ago: not from a cache of this multiprocessor.
        const volatile double* parts = partial;
        double total = last.remaining * static_cast<double>(__uint_as_float(last.bits));
        for (int i = 0; i < static_cast<int>(gridDim.x); i++) total += parts[i];
        const float above = above_of(numbers, static_cast<float>(total / top)), positive = fmaxf(above, 0.0f);
        const float together = multiplied(numbers, model[0] / 2.0f, numbers.score_exponent, above);
        const float joined = 2.0f * ((1.0f - numbers.own) * together + numbers.own * (positive / (positive + 2.0f)));
        score[0] = fminf(fmaxf(joined, 0.0f), 2.0f);
    }
}
