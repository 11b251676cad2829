// Post-VCP's look: one pass over a part of a sequence: norms, scores, and the weighted sum of unit tokens under an online
// softmax, for all query vectors at once. A split's result is merged with the others' afterwards.
#include "post_vcp.cuh"

constexpr int MOST_QUERIES = 16;

// The tiles of a sequence that a block takes.
struct Part {
    int sequence, split, first_tile, end_tile;
};

__device__ __forceinline__ Part part_of(int splits, int tiles) {
    Part part;
    part.sequence = blockIdx.x / splits;
    part.split = blockIdx.x % splits;
    part.first_tile = static_cast<int>(static_cast<long long>(part.split) * tiles / splits);
    part.end_tile = static_cast<int>(static_cast<long long>(part.split + 1) * tiles / splits);
    return part;
}

__device__ __forceinline__ float value_of(float value) { return value; }
__device__ __forceinline__ float value_of(half_bits bits) { return half_to_float(bits); }

constexpr int PLAIN_TILE = 8;
constexpr int PLAIN_CHANNELS = 3;
constexpr int PLAIN_THREADS = 512;

// Any type and width. A warp scores one token at a time; a thread sums three channels, `blockDim.x` apart, of all queries.
template <typename T>
__device__ void look_plain(const Addresses& tokens, const float* queries, float* partial, float2* states, float* inverse_norms,
                           int layers, int rows, int first_row, int patches, int width, int count, int splits) {
    DYNAMIC_SHARED(float, shared);
    float* tile = shared;                               // PLAIN_TILE × width
    float* scores = tile + PLAIN_TILE * width;          // PLAIN_TILE × count
    float* weights = scores + PLAIN_TILE * count;       // PLAIN_TILE × count
    float* inverses = weights + PLAIN_TILE * count;     // PLAIN_TILE
    float* largest = inverses + PLAIN_TILE;             // count
    float* total = largest + count;                     // count
    float* shrink = total + count;                      // count
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const Part part = part_of(splits, (patches + PLAIN_TILE - 1) / PLAIN_TILE);
    const T* sequence = tokens_of<T>(tokens, part.sequence, layers, rows, first_row, width);
    const float* query = queries + static_cast<long long>(part.sequence / layers) * count * width;

    float sums[MOST_QUERIES][PLAIN_CHANNELS] = {};
    if (threadIdx.x < count) {
        largest[threadIdx.x] = NOTHING;
        total[threadIdx.x] = 0.0f;
    }
    for (int step = part.first_tile; step < part.end_tile; step++) {
        const int first = step * PLAIN_TILE;
        const int here = min(PLAIN_TILE, patches - first);
        for (int i = threadIdx.x; i < here * width; i += blockDim.x) {
            tile[i] = value_of(sequence[static_cast<long long>(first) * width + i]);
        }
        __syncthreads();
        for (int token = warp; token < here; token += warps) {
            float dots[MOST_QUERIES] = {};
            float square = 0.0f;
            // Unrolled, the addresses of all queries would not fit the registers beside the sums.
#pragma unroll 1
            for (int c = lane; c < width; c += 32) {
                const float x = tile[token * width + c];
                square += x * x;
#pragma unroll
                for (int i = 0; i < MOST_QUERIES; i++) {
                    if (i < count) dots[i] += x * query[i * width + c];
                }
            }
            const float inverse = 1.0f / sqrtf(warp_sum(square));
            const float dot = warp_sums(dots);
            if (lane % 2 == 0 && lane / 2 < count) scores[token * count + lane / 2] = dot * inverse;
            if (lane == 0) {
                inverses[token] = inverse;
                inverse_norms[static_cast<long long>(part.sequence) * patches + first + token] = inverse;
            }
        }
        __syncthreads();
        if (threadIdx.x < count) {
            const int i = threadIdx.x;
            float most = largest[i];
            for (int token = 0; token < here; token++) most = fmaxf(most, scores[token * count + i]);
            const float factor = expf(largest[i] - most);
            float sum = total[i] * factor;
            for (int token = 0; token < here; token++) {
                const float weight = expf(scores[token * count + i] - most);
                sum += weight;
                weights[token * count + i] = weight * inverses[token];
            }
            largest[i] = most;
            total[i] = sum;
            shrink[i] = factor;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < PLAIN_CHANNELS; k++) {
            const int c = threadIdx.x + k * blockDim.x;
            if (c < width) {
#pragma unroll
                for (int i = 0; i < MOST_QUERIES; i++) {
                    if (i < count) sums[i][k] *= shrink[i];
                }
#pragma unroll 1
                for (int token = 0; token < here; token++) {
                    const float x = tile[token * width + c];
#pragma unroll
                    for (int i = 0; i < MOST_QUERIES; i++) {
                        if (i < count) sums[i][k] += weights[token * count + i] * x;
                    }
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < MOST_QUERIES; i++) {
        if (i < count) {
            const long long at = static_cast<long long>(blockIdx.x) * count + i;
#pragma unroll
            for (int k = 0; k < PLAIN_CHANNELS; k++) {
                const int c = threadIdx.x + k * blockDim.x;
                if (c < width) partial[at * width + c] = sums[i][k];
            }
        }
    }
    if (threadIdx.x < count) {
        states[static_cast<long long>(blockIdx.x) * count + threadIdx.x] = make_float2(largest[threadIdx.x], total[threadIdx.x]);
    }
}

extern "C" __global__ void __launch_bounds__(PLAIN_THREADS)
    post_look_f32(const __grid_constant__ Addresses tokens, const float* queries, float* partial, float2* states, float* inverse_norms, int layers,
                  int rows, int first_row, int patches, int width, int count, int splits) {
    look_plain<float>(tokens, queries, partial, states, inverse_norms, layers, rows, first_row, patches, width, count, splits);
}

extern "C" __global__ void __launch_bounds__(PLAIN_THREADS)
    post_look_f16(const __grid_constant__ Addresses tokens, const float* queries, float* partial, float2* states, float* inverse_norms, int layers,
                  int rows, int first_row, int patches, int width, int count, int splits) {
    look_plain<half_bits>(tokens, queries, partial, states, inverse_norms, layers, rows, first_row, patches, width, count, splits);
}

// On tensor cores, for float16 tokens: the queries are the 16 rows of a matrix product, padded with zeros. Each warp owns
// 128 channels, both of the scores, which are added up over the warps, and of the sums, which stay in its registers.
// What is not a half by nature (query vectors, weights) is split into two halves, so that nothing but the tokens' own
// rounding enters.
constexpr int TILE = 16;
constexpr int CHANNELS = 128;
constexpr int TENSOR_WARPS = 8;
// Halves between two rows of the weights: 48 bytes put eight rows into different banks.
constexpr int WEIGHT_STRIDE = 24;
// Binary exponent that the largest element of a query vector is brought to: its lower half is a normal number too.
constexpr int QUERY_EXPONENT = 11;
// Both the factor and its inverse are normal numbers up to here.
constexpr int MOST_EXPONENT = 120;

struct TwoHalves {
    unsigned upper, lower;
};

__device__ __forceinline__ TwoHalves split_pair(float first, float second) {
    const half_bits a = float_to_half(first), b = float_to_half(second);
    TwoHalves halves;
    halves.upper = pack_halves(a, b);
    halves.lower = pack_halves(float_to_half(first - half_to_float(a)), float_to_half(second - half_to_float(b)));
    return halves;
}

template <int STAGES>
__device__ void look_tensor(const Addresses& tokens, const float* queries, float* partial, float2* states,
                            float* inverse_norms, int layers, int rows, int first_row, int patches, int width, int count,
                            int splits) {
    DYNAMIC_SHARED(half_bits, tiles);  // STAGES × TILE × (width + 8)
    __shared__ float scores[TENSOR_WARPS][MOST_QUERIES][TILE + 1];
    __shared__ float squares[TENSOR_WARPS][TILE];
    __shared__ __align__(16) half_bits weights[2][MOST_QUERIES][WEIGHT_STRIDE];
    __shared__ float tops[TENSOR_WARPS][MOST_QUERIES];
    __shared__ float largest[MOST_QUERIES], total[MOST_QUERIES], shrink[MOST_QUERIES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    // Row (and row + 8) of a fragment, and the first of two neighbouring columns.
    const int row = lane / 4, pair = lane % 4 * 2;
    const int stride = width + 8;
    const Part part = part_of(splits, (patches + TILE - 1) / TILE);
    const half_bits* sequence = tokens_of<half_bits>(tokens, part.sequence, layers, rows, first_row, width);
    const float* query = queries + static_cast<long long>(part.sequence / layers) * count * width;
    const int own = warp * CHANNELS;

    // A warp copies its own channels of a tile: 16 pieces of 16 bytes in each of 16 rows.
    auto fetch = [&](int step) {
        if (step < part.end_tile) {
            half_bits* to = tiles + (step - part.first_tile) % STAGES * TILE * stride + own;
#pragma unroll
            for (int i = 0; i < TILE * CHANNELS / 8 / 32; i++) {
                const int piece = i * 32 + lane;
                const int token = piece / (CHANNELS / 8), column = piece % (CHANNELS / 8) * 8;
                const bool valid = step * TILE + token < patches;
                const long long at = static_cast<long long>(valid ? step * TILE + token : 0) * width + own + column;
                copy_async_16(to + token * stride + column, sequence + at, valid);
            }
        }
        commit_copies();
    };
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) fetch(part.first_tile + stage);

    // Query vectors of this warp's channels as fragments, scaled to a common magnitude per query.
    float unscale[2];
    unsigned upper[CHANNELS / 16][4], lower[CHANNELS / 16][4];
    {
        auto element = [&](int i, int c) { return i < count ? query[static_cast<long long>(i) * width + own + c] : 0.0f; };
#pragma unroll
        for (int side = 0; side < 2; side++) {
            float top = 0.0f;
#pragma unroll
            for (int c = pair; c < CHANNELS; c += 8) {
                top = fmaxf(top, fmaxf(fabsf(element(row + 8 * side, c)), fabsf(element(row + 8 * side, c + 1))));
            }
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
            if (lane % 4 == 0) tops[warp][row + 8 * side] = top;
        }
        __syncthreads();
        float scale[2];
#pragma unroll
        for (int side = 0; side < 2; side++) {
            float top = 0.0f;
            for (int w = 0; w < warps; w++) top = fmaxf(top, tops[w][row + 8 * side]);
            const int exponent = top > 0.0f ? min(QUERY_EXPONENT - ilogbf(top), MOST_EXPONENT) : 0;
            scale[side] = ldexpf(1.0f, exponent);
            unscale[side] = ldexpf(1.0f, -exponent);
        }
#pragma unroll
        for (int k = 0; k < CHANNELS / 16; k++) {
#pragma unroll
            for (int piece = 0; piece < 4; piece++) {
                // Pieces of a 16×16 fragment: rows 0–7 and 8–15 of the first eight columns, then of the last.
                const int side = piece % 2, c = k * 16 + pair + piece / 2 * 8;
                const TwoHalves halves = split_pair(element(row + 8 * side, c) * scale[side], element(row + 8 * side, c + 1) * scale[side]);
                upper[k][piece] = halves.upper;
                lower[k][piece] = halves.lower;
            }
        }
    }
    if (threadIdx.x < MOST_QUERIES) {
        largest[threadIdx.x] = NOTHING;
        total[threadIdx.x] = 0.0f;
    }

    float sums[CHANNELS / 8][4] = {};
    for (int step = part.first_tile; step < part.end_tile; step++) {
        // The lanes of a warp read each other's copies.
        wait_copies<STAGES - 2>();
        __syncwarp();
        fetch(step + STAGES - 1);
        const half_bits* tile = tiles + (step - part.first_tile) % STAGES * TILE * stride + own;

        float products[2][4] = {};
        float square[2] = {};
#pragma unroll
        for (int k = 0; k < CHANNELS / 16; k++) {
            // Tokens 0–7 and 8–15, each with the first and the last eight of 16 channels.
            unsigned fragment[4];
            load_matrices(fragment, tile + (lane / 16 * 8 + lane % 8) * stride + k * 16 + lane / 8 % 2 * 8);
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const unsigned b0 = fragment[2 * side], b1 = fragment[2 * side + 1];
                multiply_add(products[side], upper[k], b0, b1);
                multiply_add(products[side], lower[k], b0, b1);
                const float a = first_half(b0), b = second_half(b0), c = first_half(b1), d = second_half(b1);
                square[side] += a * a + b * b + c * c + d * d;
            }
        }
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const int token = side * 8 + pair;
            scores[warp][row][token] = products[side][0] * unscale[0];
            scores[warp][row][token + 1] = products[side][1] * unscale[0];
            scores[warp][row + 8][token] = products[side][2] * unscale[1];
            scores[warp][row + 8][token + 1] = products[side][3] * unscale[1];
            // Four lanes share a token.
            square[side] += __shfl_xor_sync(ALL_LANES, square[side], 1);
            square[side] += __shfl_xor_sync(ALL_LANES, square[side], 2);
            if (lane % 4 == 0) squares[warp][side * 8 + row] = square[side];
        }
        __syncthreads();

        // Sixteen lanes per query, one per token.
        for (int i = threadIdx.x; i < MOST_QUERIES * TILE; i += blockDim.x) {
            const int which = i / TILE, token = i % TILE;
            float score = 0.0f, norm = 0.0f;
            for (int w = 0; w < warps; w++) {
                score += scores[w][which][token];
                norm += squares[w][token];
            }
            const bool valid = step * TILE + token < patches;
            const float inverse = valid ? 1.0f / sqrtf(norm) : 0.0f;
            if (which == 0 && valid) {
                inverse_norms[static_cast<long long>(part.sequence) * patches + step * TILE + token] = inverse;
            }
            score = valid ? score * inverse : NOTHING;
            float most = score;
#pragma unroll
            for (int offset = TILE / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, offset));
            const float before = largest[which];
            most = fmaxf(most, before);
            const float weight = expf(score - most);
            float sum = weight;
#pragma unroll
            for (int offset = TILE / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, offset);
            const float scaled = weight * inverse;
            const half_bits first = float_to_half(scaled);
            weights[0][which][token] = first;
            weights[1][which][token] = float_to_half(scaled - half_to_float(first));
            // Every lane has read `largest` by now: the shuffles are between.
            if (token == 0) {
                const float factor = expf(before - most);
                shrink[which] = factor;
                total[which] = total[which] * factor + sum;
                largest[which] = most;
            }
        }
        __syncthreads();

        const float shrink_upper = shrink[row], shrink_lower = shrink[row + 8];
        unsigned first[4], second[4];
        const int weight_row = lane / 8 % 2 * 8 + lane % 8, weight_column = lane / 16 * 8;
        load_matrices(first, &weights[0][weight_row][weight_column]);
        load_matrices(second, &weights[1][weight_row][weight_column]);
#pragma unroll
        for (int n = 0; n < CHANNELS / 8; n += 2) {
            // Eight channels with tokens 0–7 and 8–15, then the next eight.
            unsigned fragment[4];
            load_matrices_transposed(fragment, tile + (lane / 8 % 2 * 8 + lane % 8) * stride + n * 8 + lane / 16 * 8);
#pragma unroll
            for (int side = 0; side < 2; side++) {
                float(&sum)[4] = sums[n + side];
                sum[0] *= shrink_upper;
                sum[1] *= shrink_upper;
                sum[2] *= shrink_lower;
                sum[3] *= shrink_lower;
                multiply_add(sum, first, fragment[2 * side], fragment[2 * side + 1]);
                multiply_add(sum, second, fragment[2 * side], fragment[2 * side + 1]);
            }
        }
        // The next tile's copies go where this one lies.
        __syncwarp();
    }

#pragma unroll
    for (int n = 0; n < CHANNELS / 8; n++) {
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const int which = row + 8 * side;
            if (which < count) {
                const long long at = (static_cast<long long>(blockIdx.x) * count + which) * width + own + n * 8 + pair;
                *reinterpret_cast<float2*>(partial + at) = make_float2(sums[n][2 * side], sums[n][2 * side + 1]);
            }
        }
    }
    if (threadIdx.x < count) {
        states[static_cast<long long>(blockIdx.x) * count + threadIdx.x] = make_float2(largest[threadIdx.x], total[threadIdx.x]);
    }
}

extern "C" __global__ void __launch_bounds__(32 * TENSOR_WARPS)
    post_look_tensor_2(const __grid_constant__ Addresses tokens, const float* queries, float* partial, float2* states, float* inverse_norms,
                       int layers, int rows, int first_row, int patches, int width, int count, int splits) {
    look_tensor<2>(tokens, queries, partial, states, inverse_norms, layers, rows, first_row, patches, width, count, splits);
}

extern "C" __global__ void __launch_bounds__(32 * TENSOR_WARPS)
    post_look_tensor_4(const __grid_constant__ Addresses tokens, const float* queries, float* partial, float2* states, float* inverse_norms,
                       int layers, int rows, int first_row, int patches, int width, int count, int splits) {
    look_tensor<4>(tokens, queries, partial, states, inverse_norms, layers, rows, first_row, patches, width, count, splits);
}
