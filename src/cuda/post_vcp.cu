// Post-VCP: text embeddings look at patch tokens (post_vcp_look.cu), patch tokens are compared with what they saw.
#include "post_vcp.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

// ---------------------------------------------------------------------------------------------------------------------
// out[which][row] = matrix[row] · vector(which, head of row) + bias[row]

// Vectors that one warp keeps sums for.
constexpr int VECTORS = 4;

__device__ __forceinline__ float4 load_vector(const void* vectors, long long at, bool is_half) {
    return is_half ? load_four(static_cast<const half_bits*>(vectors), at) : load_four(static_cast<const float*>(vectors), at);
}

// A block has ROWS rows. Its warps take groups of vectors, and when there are fewer groups than warps, parts of the
// columns; the parts are added in a fixed order.
template <int ROWS>
__device__ void rows_times(const float* matrix, const float* bias, const void* vectors, bool is_half, float* out, int rows,
                           int columns, int heads, int count) {
    __shared__ float sums[WARPS][ROWS * VECTORS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first_row = blockIdx.x * ROWS;
    const int head = first_row / (rows / heads);
    const int groups = (count + VECTORS - 1) / VECTORS;
    const int at_once = groups < WARPS ? groups : WARPS;
    const int parts = WARPS / at_once;
    const int part = warp / at_once;

    for (int first_group = 0; first_group < groups; first_group += at_once) {
        const int group = first_group + warp % at_once;
        if (part < parts && group < groups) {
            float sum[ROWS * VECTORS] = {};
            for (int column = (part * 32 + lane) * 4; column < columns; column += parts * 128) {
                float4 vector[VECTORS];
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
                    // Beyond the last vector the last is computed again, and dropped.
                    const int which = min(group * VECTORS + v, count - 1);
                    const long long at = (static_cast<long long>(which) * heads + head) * columns + column;
                    vector[v] = load_vector(vectors, at, is_half);
                }
#pragma unroll
                for (int row = 0; row < ROWS; row++) {
                    const float4 line = load_four(matrix, static_cast<long long>(first_row + row) * columns + column);
#pragma unroll
                    for (int v = 0; v < VECTORS; v++) {
                        sum[row * VECTORS + v] = dot_four(sum[row * VECTORS + v], line, vector[v]);
                    }
                }
            }
            const float total = warp_sums(sum);
            constexpr int LANES_EACH = 32 / (ROWS * VECTORS);
            if (lane % LANES_EACH == 0) sums[warp][lane / LANES_EACH] = total;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < at_once * ROWS * VECTORS; i += THREADS) {
            const int slot = i / (ROWS * VECTORS), item = i % (ROWS * VECTORS);
            const int which = (first_group + slot) * VECTORS + item % VECTORS;
            const int row = first_row + item / VECTORS;
            if (which < count) {
                float total = bias[row];
                for (int p = 0; p < parts; p++) total += sums[p * at_once + slot][item];
                out[static_cast<long long>(which) * rows + row] = total;
            }
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    post_rows_8(const float* matrix, const float* bias, const void* vectors, int is_half, float* out, int rows, int columns,
                int heads, int count) {
    rows_times<8>(matrix, bias, vectors, is_half != 0, out, rows, columns, heads, count);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    post_rows_1(const float* matrix, const float* bias, const void* vectors, int is_half, float* out, int rows, int columns,
                int heads, int count) {
    rows_times<1>(matrix, bias, vectors, is_half != 0, out, rows, columns, heads, count);
}

// ---------------------------------------------------------------------------------------------------------------------
// queries[image][query] = W_kᵀ q over the rows of the query's head

// Columns of a block, four per thread.
constexpr int QUERY_COLUMNS = 32;
constexpr int QUERY_ROWS = THREADS / (QUERY_COLUMNS / 4);

extern "C" __global__ void __launch_bounds__(THREADS)
    post_queries(const float* key, const float* q, float* queries, int width, int heads, int batch) {
    __shared__ float4 sums[WARPS][VECTORS][QUERY_COLUMNS / 4];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int quad = threadIdx.x % (QUERY_COLUMNS / 4), row_offset = threadIdx.x / (QUERY_COLUMNS / 4);
    const int column = blockIdx.x * QUERY_COLUMNS + quad * 4;
    const int head = blockIdx.y, head_rows = width / heads;
    const int count = 2 * batch;

    for (int first = 0; first < count; first += VECTORS) {
        float4 sum[VECTORS] = {};
        if (column < width) {
            for (int row = head * head_rows + row_offset; row < (head + 1) * head_rows; row += QUERY_ROWS) {
                const float4 line = load_four(key, static_cast<long long>(row) * width + column);
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
                    const float factor = q[static_cast<long long>(min(first + v, count - 1)) * width + row];
                    sum[v].x += factor * line.x;
                    sum[v].y += factor * line.y;
                    sum[v].z += factor * line.z;
                    sum[v].w += factor * line.w;
                }
            }
        }
        // Eight lanes hold the columns; lanes 8 and 16 apart hold other rows of the same columns.
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int offset = 8; offset <= 16; offset *= 2) {
                sum[v].x += __shfl_xor_sync(ALL_LANES, sum[v].x, offset);
                sum[v].y += __shfl_xor_sync(ALL_LANES, sum[v].y, offset);
                sum[v].z += __shfl_xor_sync(ALL_LANES, sum[v].z, offset);
                sum[v].w += __shfl_xor_sync(ALL_LANES, sum[v].w, offset);
            }
            if (lane < QUERY_COLUMNS / 4) sums[warp][v][lane] = sum[v];
        }
        __syncthreads();
        if (threadIdx.x < VECTORS * QUERY_COLUMNS / 4) {
            const int v = threadIdx.x / (QUERY_COLUMNS / 4);
            if (first + v < count && column < width) {
                float4 total = sums[0][v][quad];
                for (int w = 1; w < WARPS; w++) {
                    total.x += sums[w][v][quad].x;
                    total.y += sums[w][v][quad].y;
                    total.z += sums[w][v][quad].z;
                    total.w += sums[w][v][quad].w;
                }
                // q runs over image · 2 + state, so this is image · 2h + state · h + head.
                const long long at = (static_cast<long long>(first + v) * heads + head) * width + column;
                *reinterpret_cast<float4*>(queries + at) = total;
            }
        }
        __syncthreads();
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// seen[sequence][query] = the parts' sums under one softmax

constexpr int MERGE_COLUMNS = 256;
constexpr int MERGE_PHASES = THREADS / (MERGE_COLUMNS / 4);

extern "C" __global__ void __launch_bounds__(THREADS)
    post_merge(const float* partial, const float2* states, float* seen, int width, int count, int splits) {
    __shared__ float4 sums[MERGE_PHASES][MERGE_COLUMNS / 4];
    const int quad = threadIdx.x % (MERGE_COLUMNS / 4), phase = threadIdx.x / (MERGE_COLUMNS / 4);
    const int column = blockIdx.x * MERGE_COLUMNS + quad * 4;
    const int sequence = blockIdx.y / count, which = blockIdx.y % count;
    const long long first = static_cast<long long>(sequence) * splits * count + which;

    float most = NOTHING, weight = 0.0f;
    for (int split = 0; split < splits; split++) most = fmaxf(most, states[first + static_cast<long long>(split) * count].x);
    for (int split = 0; split < splits; split++) {
        const float2 state = states[first + static_cast<long long>(split) * count];
        weight += state.y * expf(state.x - most);
    }
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (column < width) {
        for (int split = phase; split < splits; split += MERGE_PHASES) {
            const long long at = first + static_cast<long long>(split) * count;
            const float factor = expf(states[at].x - most);
            const float4 part = load_four(partial, at * width + column);
            sum.x += factor * part.x;
            sum.y += factor * part.y;
            sum.z += factor * part.z;
            sum.w += factor * part.w;
        }
    }
    sums[phase][quad] = sum;
    __syncthreads();
    if (phase == 0 && column < width) {
        for (int p = 1; p < MERGE_PHASES; p++) {
            sum.x += sums[p][quad].x;
            sum.y += sums[p][quad].y;
            sum.z += sums[p][quad].z;
            sum.w += sums[p][quad].w;
        }
        const float4 mean = make_float4(sum.x / weight, sum.y / weight, sum.z / weight, sum.w / weight);
        *reinterpret_cast<float4*>(seen + static_cast<long long>(blockIdx.y) * width + column) = mean;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// maps[sequence][patch] = temperature · f̂ · (t′_abnormal − t′_normal)

// Tokens of a warp, side by side.
constexpr int MAP_TOKENS = 4;

template <typename T>
__device__ void compare(const Addresses& tokens, const float* adjusted, const float* inverse_norms, float* maps,
                        float temperature, int layers, int rows, int first_row, int patches, int width) {
    DYNAMIC_SHARED(float, difference);  // width
    __shared__ float squares[2][WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // Last read, first read again: those tokens are still in the cache.
    const int sequence = gridDim.y - 1 - blockIdx.y;
    const int first = ((gridDim.x - 1 - blockIdx.x) * WARPS + warp) * MAP_TOKENS;
    const float* normal = adjusted + static_cast<long long>(sequence) * 2 * width;
    const float* abnormal = normal + width;

    float square[2] = {};
    for (int c = threadIdx.x; c < width; c += THREADS) {
        square[0] += normal[c] * normal[c];
        square[1] += abnormal[c] * abnormal[c];
    }
    for (int state = 0; state < 2; state++) {
        square[state] = warp_sum(square[state]);
        if (lane == 0) squares[state][warp] = square[state];
    }
    __syncthreads();
    for (int state = 0; state < 2; state++) {
        square[state] = 0.0f;
        for (int w = 0; w < WARPS; w++) square[state] += squares[state][w];
        square[state] = 1.0f / sqrtf(square[state]);
    }
    for (int c = threadIdx.x; c < width; c += THREADS) difference[c] = abnormal[c] * square[1] - normal[c] * square[0];
    __syncthreads();

    const T* source = tokens_of<T>(tokens, sequence, layers, rows, first_row, width);
    float sums[MAP_TOKENS] = {};
    for (int c = lane * 8; c < width; c += 256) {
        const float4 left = load_four(difference, c), right = load_four(difference, c + 4);
#pragma unroll
        for (int i = 0; i < MAP_TOKENS; i++) {
            const long long at = static_cast<long long>(min(first + i, patches - 1)) * width + c;
            const Eight token = load_eight(source, at);
            sums[i] = dot_four(dot_four(sums[i], token.left, left), token.right, right);
        }
    }
    const float sum = warp_sums(sums);
    const int patch = first + lane / 8;
    if (lane % 8 == 0 && patch < patches) {
        const long long at = static_cast<long long>(sequence) * patches + patch;
        maps[at] = sum * inverse_norms[at] * temperature;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    post_maps_f32(const __grid_constant__ Addresses tokens, const float* adjusted, const float* inverse_norms, float* maps, float temperature,
                  int layers, int rows, int first_row, int patches, int width) {
    compare<float>(tokens, adjusted, inverse_norms, maps, temperature, layers, rows, first_row, patches, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    post_maps_f16(const __grid_constant__ Addresses tokens, const float* adjusted, const float* inverse_norms, float* maps, float temperature,
                  int layers, int rows, int first_row, int patches, int width) {
    compare<half_bits>(tokens, adjusted, inverse_norms, maps, temperature, layers, rows, first_row, patches, width);
}
