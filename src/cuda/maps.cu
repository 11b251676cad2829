// Maps: low-resolution differences of both paths → upsampled probabilities, their blend smoothed, and the score.
//
// A path is one image's Pre-VCP (0) or Post-VCP (1) map; path index = image · 2 + path. The order of launches is fuse,
// select (digit 1), select (digit 2), top, and smooth twice.
#include "top_k.cuh"

constexpr int FUSE_ROWS = 4;

// Words per image: both paths' counts of each digit, then a tally of the blocks that are done.
constexpr int IMAGE_WORDS = 2 * DIGITS * BINS + 32;

__device__ __forceinline__ unsigned* counts_of(unsigned* counts, int path, int digit) {
    return counts + static_cast<long long>(path / 2) * IMAGE_WORDS + (path % 2 * DIGITS + digit) * BINS;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct Tap {
    unsigned low;
    float weight;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    maps_fuse(const __grid_constant__ Addresses raw, int is_half, const float* post, const Tap* taps, float* paths, float* blend, unsigned* counts,
              int grid, int size, int layers, float raw_weight) {
    DYNAMIC_SHARED(float, mixed);  // 2 · layers rows of grid + 1
    __shared__ unsigned bins[2][BINS];
    const int image = blockIdx.y;
    const int patches = grid * grid;
    const long long pixels = static_cast<long long>(size) * size;
    for (int i = threadIdx.x; i < 2 * BINS; i += THREADS) bins[i / BINS][i % BINS] = 0;

    const int end = min(static_cast<int>(blockIdx.x + 1) * FUSE_ROWS, size);
    for (int y = blockIdx.x * FUSE_ROWS; y < end; y++) {
        const Tap down = taps[y];
        const int high = min(static_cast<int>(down.low) + 1, grid - 1);
        __syncthreads();
        // Both grid rows mixed once; the tap right of the last column has weight 0.
        for (int i = threadIdx.x; i < 2 * layers * (grid + 1); i += THREADS) {
            const int x = min(i % (grid + 1), grid - 1), map = i / (grid + 1);
            const int layer = map % layers;
            const long long above = static_cast<long long>(down.low) * grid + x;
            const long long below = static_cast<long long>(high) * grid + x;
            float upper, lower;
            if (map < layers) {
                const long long first = static_cast<long long>(image) * patches;
                const void* logits = raw.layer[layer];
                const bool half = is_half != 0;
                upper = load_value(logits, (first + above) * 2 + 1, half) - load_value(logits, (first + above) * 2, half);
                lower = load_value(logits, (first + below) * 2 + 1, half) - load_value(logits, (first + below) * 2, half);
            } else {
                const float* differences = post + (static_cast<long long>(image) * layers + layer) * patches;
                upper = differences[above];
                lower = differences[below];
            }
            mixed[i] = upper + down.weight * (lower - upper);
        }
        __syncthreads();
        for (int x = threadIdx.x; x < size; x += THREADS) {
            const Tap across = taps[x];
            float means[2];
#pragma unroll
            for (int path = 0; path < 2; path++) {
                float sum = 0.0f;
                for (int layer = 0; layer < layers; layer++) {
                    const float* row = mixed + (path * layers + layer) * (grid + 1) + across.low;
                    sum += sigmoid(row[0] + across.weight * (row[1] - row[0]));
                }
                means[path] = sum * (1.0f / layers);
                paths[(image * 2 + path) * pixels + static_cast<long long>(y) * size + x] = means[path];
                atomicAdd(&bins[path][digit_of(__float_as_uint(means[path]), 0)], 1u);
            }
            blend[image * pixels + static_cast<long long>(y) * size + x] = raw_weight * means[0] + (1.0f - raw_weight) * means[1];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * BINS; i += THREADS) {
        const unsigned count = bins[i / BINS][i % BINS];
        if (count > 0) atomicAdd(counts_of(counts, image * 2 + i / BINS, 0) + i % BINS, count);
    }
}

// Finds one digit from the counts of the last launch, and counts the next among the values that share the bits found.
extern "C" __global__ void __launch_bounds__(THREADS)
    maps_select(const float* paths, unsigned* counts, Wanted* states, int digit, int size, int top) {
    const int path = blockIdx.y;
    const int pixels = size * size;
    Wanted before = {0u, static_cast<unsigned>(top)};
    if (digit > 1) before = states[path * DIGITS + digit - 2];
    const float* values = paths + static_cast<long long>(path) * pixels;
    count_digit(values, counts_of(counts, path, digit - 1), counts_of(counts, path, digit), before,
                states + path * DIGITS + digit - 1, digit, pixels);
}

// Sums the values above the k-th, and with the last block of an image makes its score.
extern "C" __global__ void __launch_bounds__(THREADS)
    maps_top(const float* paths, unsigned* counts, Wanted* states, double* partial, float* scores, int size, int top) {
    __shared__ bool is_last;
    const int path = blockIdx.y, image = path / 2;
    const int pixels = size * size;
    const Wanted last = find_digit(counts_of(counts, path, DIGITS - 1), states[path * DIGITS + DIGITS - 2], DIGITS - 1);
    const float* values = paths + static_cast<long long>(path) * pixels;
    const double sum = sum_above(values, last.bits, pixels);
    if (threadIdx.x == 0) {
        partial[path * gridDim.x + blockIdx.x] = sum;
        if (blockIdx.x == 0) states[path * DIGITS + DIGITS - 1] = last;
        __threadfence();
        unsigned* done = counts + static_cast<long long>(image) * IMAGE_WORDS + 2 * DIGITS * BINS;
        is_last = atomicAdd(done, 1u) == 2 * gridDim.x - 1;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        __threadfence();
        float score = 0.0f;
        for (int p = image * 2; p < image * 2 + 2; p++) {
            // Written by other blocks a moment ago: not from a cache of this multiprocessor.
            const volatile Wanted* state = states + p * DIGITS + DIGITS - 1;
            const volatile double* parts = partial + p * gridDim.x;
            const unsigned bits = state->bits, ties = state->remaining;
            double total = ties * static_cast<double>(__uint_as_float(bits));
            for (int i = 0; i < static_cast<int>(gridDim.x); i++) total += parts[i];
            score += static_cast<float>(total / top);
        }
        scores[image] = score;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Smooths each column and turns the result over, so that the second launch smooths the rows and turns it back.

constexpr int TILE = 32;
constexpr int ROWS = 4;
static_assert(TILE * TILE / ROWS == THREADS, "each thread has four rows of one column");

// Index mirrored into 0 … n − 1 with the border repeated, as often as needed.
__device__ __forceinline__ int reflected(int i, int n) {
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

// `weights` holds the whole Gaussian, 2 · radius + 1 of them, with ROWS − 1 zeros on either side.
extern "C" __global__ void __launch_bounds__(THREADS)
    maps_smooth(const float* from, float* to, const float* weights, int size, int radius) {
    __shared__ float turned[TILE][TILE + 1];
    const int column = threadIdx.x % TILE, group = threadIdx.x / TILE;
    const int x = blockIdx.x * TILE + column, first = blockIdx.y * TILE + group * ROWS;
    const long long pixels = static_cast<long long>(size) * size;
    const float* map = from + blockIdx.z * pixels;
    float sums[ROWS] = {};
    if (x < size) {
        // Row `first + j − radius` has weight j of the first row, j − 1 of the second, …
        float window[ROWS] = {};
#pragma unroll 4
        for (int j = 0; j < 2 * radius + ROWS; j++) {
            const float value = map[static_cast<long long>(reflected(first + j - radius, size)) * size + x];
#pragma unroll
            for (int row = ROWS - 1; row > 0; row--) window[row] = window[row - 1];
            window[0] = weights[j];
#pragma unroll
            for (int row = 0; row < ROWS; row++) sums[row] += window[row] * value;
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) turned[group * ROWS + row][column] = sums[row];
    __syncthreads();
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const int out_x = blockIdx.y * TILE + column, out_y = blockIdx.x * TILE + group * ROWS + row;
        if (out_x < size && out_y < size) {
            to[blockIdx.z * pixels + static_cast<long long>(out_y) * size + out_x] = turned[column][group * ROWS + row];
        }
    }
}
