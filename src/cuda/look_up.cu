// The memory's look-up: how far each patch token of one picture is from the nearest token that a memory holds.
//
// Nearest by cosine is largest by product, as the memory's tokens have length 1 and dividing a patch token by its length
// keeps the order: tokens meet the memory as they are, and only the largest product is divided. The order of launches is
// norms (or split), nearest, distances. A memory holds the tapped layers one after the other; layer l's rows begin at
// `firsts[l]` and end before `firsts[l + 1]`.
#include "lane.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

// A token of zeros is at distance 1 from all: its products count as 0.
__device__ __forceinline__ float inverse_of(float square) { return square > 0.0f ? 1.0f / sqrtf(square) : 0.0f; }

__device__ __forceinline__ float square_of(float4 four) {
    return four.x * four.x + four.y * four.y + four.z * four.z + four.w * four.w;
}

template <typename T>
__device__ __forceinline__ float square_of_token(const T* token, int width) {
    float square = 0.0f;
    for (int c = threadIdx.x % 32 * 8; c < width; c += 256) {
        const Eight eight = load_eight(token, c);
        square += square_of(eight.left) + square_of(eight.right);
    }
    return warp_sum(square);
}

// factors[layer][patch] = 1 / ‖token‖. A warp per token.
extern "C" __global__ void __launch_bounds__(THREADS)
    look_up_norms(const __grid_constant__ Addresses tokens, float* factors, int patches, int width) {
    const int patch = blockIdx.x * WARPS + threadIdx.x / 32, layer = blockIdx.y;
    if (patch >= patches) return;
    const half_bits* token = static_cast<const half_bits*>(tokens.layer[layer]) + static_cast<long long>(patch) * width;
    const float square = square_of_token(token, width);
    if (threadIdx.x % 32 == 0) factors[layer * patches + patch] = inverse_of(square);
}

// Length that float32 tokens are brought to before they are taken apart into halves: the lower ones are normal numbers
// where it matters.
constexpr float LENGTH = 256.0f;

// halves[layer][patch] = the token with length LENGTH as sums of two halves, all upper ones before all lower ones.
extern "C" __global__ void __launch_bounds__(THREADS)
    look_up_split(const __grid_constant__ Addresses tokens, half_bits* halves, float* factors, int patches, int width) {
    const int patch = blockIdx.x * WARPS + threadIdx.x / 32, layer = blockIdx.y;
    if (patch >= patches) return;
    const float* token = static_cast<const float*>(tokens.layer[layer]) + static_cast<long long>(patch) * width;
    const long long at = static_cast<long long>(layer) * patches + patch;
    const float factor = LENGTH * inverse_of(square_of_token(token, width));
    half_bits* upper = halves + at * 2 * width;
    for (int c = threadIdx.x % 32; c < width; c += 32) {
        const float value = token[c] * factor;
        const half_bits first = float_to_half(value);
        upper[c] = first;
        upper[width + c] = float_to_half(value - half_to_float(first));
    }
    if (threadIdx.x % 32 == 0) factors[at] = 1.0f / LENGTH;
}

// ---------------------------------------------------------------------------------------------------------------------
// largest[layer][patch] = the largest product with any row of the memory, as ordered bits; 0 where there is no row

// A block multiplies 128 patch tokens by 128 rows of the memory, each of its four warps 64 by 64.
constexpr int PRODUCT_THREADS = 128;
constexpr int TILE = 128;
constexpr int OWN = 64;
// Columns of a step, and the pieces of 16 bytes that a row has of them.
constexpr int STEP = 32;
constexpr int PIECES = STEP / 8;
constexpr int STAGES = 3;
constexpr int STAGE = 2 * TILE * STEP;
constexpr int ROWS_AT_ONCE = PRODUCT_THREADS / PIECES;

// Pieces change places from one pair of rows to the next, so that eight rows of a matrix lie in different banks.
__device__ __forceinline__ int place_of(int row, int piece) { return row * STEP + (piece ^ (row / 2 % PIECES)) * 8; }

// `columns` is the width of the tokens' rows: that of the memory's, or twice as much where the lower halves stand behind
// the upper ones; both meet the same columns of the memory.
extern "C" __global__ void __launch_bounds__(PRODUCT_THREADS, 2)
    look_up_nearest(const __grid_constant__ Addresses tokens, const half_bits* memory, const int* firsts, unsigned* largest,
                    int patches, int columns, int width) {
    DYNAMIC_SHARED(half_bits, tiles);  // STAGES × (TILE tokens, TILE rows) × STEP
    const int layer = blockIdx.y;
    // Blocks that run together share rows of the memory: these are read once from memory, the few tokens stay in the cache.
    const int token_tiles = (patches + TILE - 1) / TILE;
    const int first_token = blockIdx.x % token_tiles * TILE, first_row = blockIdx.x / token_tiles * TILE;
    const int rows = firsts[layer + 1] - firsts[layer];
    if (first_row >= rows) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int own_token = warp % 2 * OWN, own_row = warp / 2 * OWN;
    const int steps = (columns + STEP - 1) / STEP;
    const half_bits* left = static_cast<const half_bits*>(tokens.layer[layer]);
    const half_bits* right = memory + static_cast<long long>(firsts[layer]) * width;

    const int piece = threadIdx.x % PIECES, line = threadIdx.x / PIECES;
    auto fetch = [&](int step) {
        if (step < steps) {
            half_bits* to = tiles + step % STAGES * STAGE;
            const int column = step * STEP + piece * 8;
            const bool valid = column < columns;
            const int of_token = valid ? column : 0, of_row = of_token < width ? of_token : of_token - width;
#pragma unroll
            for (int i = 0; i < TILE / ROWS_AT_ONCE; i++) {
                const int row = line + i * ROWS_AT_ONCE;
                // Behind the last one the last is taken again: it changes no maximum.
                const long long token = min(first_token + row, patches - 1), other = min(first_row + row, rows - 1);
                copy_async_16(to + place_of(row, piece), left + token * columns + of_token, valid);
                copy_async_16(to + TILE * STEP + place_of(row, piece), right + other * width + of_row, valid);
            }
        }
        commit_copies();
    };
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) fetch(stage);

    float sums[OWN / 16][OWN / 8][4] = {};
    for (int step = 0; step < steps; step++) {
        wait_copies<STAGES - 2>();
        // Everybody's copies are there, and nobody reads the stage any more that is fetched next.
        __syncthreads();
        fetch(step + STAGES - 1);
        const half_bits* of_tokens = tiles + step % STAGES * STAGE;
        const half_bits* of_rows = of_tokens + TILE * STEP;
#pragma unroll
        for (int k = 0; k < STEP / 16; k++) {
            unsigned a[OWN / 16][4], b[OWN / 16][4];
#pragma unroll
            for (int m = 0; m < OWN / 16; m++) {
                load_matrices(a[m], of_tokens + place_of(own_token + m * 16 + lane % 16, k * 2 + lane / 16));
            }
#pragma unroll
            for (int n = 0; n < OWN / 16; n++) {
                load_matrices(b[n], of_rows + place_of(own_row + n * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
            }
#pragma unroll
            for (int m = 0; m < OWN / 16; m++) {
#pragma unroll
                for (int n = 0; n < OWN / 8; n++) {
                    multiply_add(sums[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
    }

#pragma unroll
    for (int m = 0; m < OWN / 16; m++) {
#pragma unroll
        for (int side = 0; side < 2; side++) {
            float most = sums[m][0][2 * side];
#pragma unroll
            for (int n = 0; n < OWN / 8; n++) most = fmaxf(most, fmaxf(sums[m][n][2 * side], sums[m][n][2 * side + 1]));
            // Four lanes share a token.
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
            const int patch = first_token + own_token + m * 16 + side * 8 + lane / 4;
            if (lane % 4 == 0 && patch < patches) atomicMax(&largest[layer * patches + patch], ordered(most));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------

// Cosine distance 0 … 2; 2 where the memory has no row.
extern "C" __global__ void __launch_bounds__(THREADS)
    look_up_distances(const unsigned* largest, const float* factors, float* distances, int count) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const float cosine = largest[i] > 0 ? from_ordered(largest[i]) * factors[i] : -1.0f;
    distances[i] = fminf(fmaxf(1.0f - cosine, 0.0f), 2.0f);
}
