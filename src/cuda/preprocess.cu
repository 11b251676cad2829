// Pre-processing: a camera's 8-bit pixels → the model's input, with Pillow's bicubic in between, exact to the bit.
//
// Weights have 22 bits of fraction; each pass rounds to 8 bits. The last pass looks its byte up in a table of normalised
// values, so float32 input equals that of plain Rust.
#include "lane.cuh"

constexpr int THREADS = 256;
constexpr int FRACTION_BITS = 22;
constexpr int HALF = 1 << (FRACTION_BITS - 1);

// First source pixel, first weight and number of weights of a target pixel.
struct Span {
    int first, at, count, unused;
};

__device__ __forceinline__ unsigned char to_byte(int sum) {
    return static_cast<unsigned char>(min(max(sum >> FRACTION_BITS, 0), 255));
}

__device__ __forceinline__ unsigned char clip(int sum) { return static_cast<unsigned char>(min(max(sum >> 16, 0), 255)); }

extern "C" __global__ void __launch_bounds__(THREADS)
    nv12_to_rgb(const unsigned char* luminance, const unsigned char* chroma, int stride, unsigned char* rgb, int rgb_stride,
                int width, int height, int luma, int red_cr, int green_cb, int green_cr, int blue_cb) {
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= width || y >= height) return;
    const int base = luma * (luminance[static_cast<long long>(y) * stride + x] - 16) + (1 << 15);
    const unsigned char* pair = chroma + static_cast<long long>(y / 2) * stride + x / 2 * 2;
    const int cb = pair[0] - 128, cr = pair[1] - 128;
    unsigned char* out = rgb + static_cast<long long>(y) * rgb_stride + x * 3;
    out[0] = clip(base + red_cr * cr);
    out[1] = clip(base - green_cb * cb - green_cr * cr);
    out[2] = clip(base + blue_cb * cb);
}

// Where a pixel of the model's input goes.
struct Input {
    void* planes;
    const float* levels;
    int is_half, is_bgr, size;
};

template <int CHANNELS>
__device__ __forceinline__ void store(const Input& input, int x, int y, const unsigned char (&pixel)[CHANNELS]) {
    const long long plane = static_cast<long long>(input.size) * input.size;
    const long long at = static_cast<long long>(y) * input.size + x;
#pragma unroll
    for (int c = 0; c < 3; c++) {
        const int from = CHANNELS == 1 ? 0 : input.is_bgr ? 2 - c : c;
        // Told apart by constants, so that the pixel stays in registers.
        const unsigned char byte = from == 0 ? pixel[0] : from == 1 ? pixel[CHANNELS / 2] : pixel[CHANNELS - 1];
        const float value = input.levels[c * 256 + byte];
        if (input.is_half) {
            static_cast<half_bits*>(input.planes)[c * plane + at] = float_to_half(value);
        } else {
            static_cast<float*>(input.planes)[c * plane + at] = value;
        }
    }
}

// Brings a row into shared memory: whole words where they are aligned, single bytes at both ends.
__device__ void fetch_row(unsigned char* shared, const unsigned char* row, int bytes) {
    const int head = min(static_cast<int>((4 - reinterpret_cast<unsigned long long>(row) % 4) % 4), bytes);
    const int words = (bytes - head) / 4;
    for (int i = threadIdx.x; i < head; i += THREADS) shared[i] = row[i];
    for (int i = threadIdx.x; i < words; i += THREADS) {
        const unsigned word = *reinterpret_cast<const unsigned*>(row + head + 4 * i);
#pragma unroll
        for (int b = 0; b < 4; b++) shared[head + 4 * i + b] = static_cast<unsigned char>(word >> (8 * b));
    }
    for (int i = head + 4 * words + threadIdx.x; i < bytes; i += THREADS) shared[i] = row[i];
}

// A block per row. `emit(x, pixel)` takes the results.
template <int CHANNELS, typename Emit>
__device__ void resize_row(const unsigned char* row, const Span* spans, const int* weights, int width, int size, Emit emit) {
    DYNAMIC_SHARED(unsigned char, pixels);
    fetch_row(pixels, row, width * CHANNELS);
    __syncthreads();
    for (int x = threadIdx.x; x < size; x += THREADS) {
        const Span span = spans[x];
        int sums[CHANNELS];
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) sums[c] = HALF;
        for (int tap = 0; tap < span.count; tap++) {
            const int weight = weights[span.at + tap];
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) sums[c] += pixels[(span.first + tap) * CHANNELS + c] * weight;
        }
        unsigned char pixel[CHANNELS];
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) pixel[c] = to_byte(sums[c]);
        emit(x, pixel);
    }
}

template <int CHANNELS>
__device__ void across_to_bytes(const unsigned char* from, int stride, unsigned char* to, int to_stride, const Span* spans,
                                const int* weights, int width, int size) {
    const int y = blockIdx.x;
    unsigned char* out = to + static_cast<long long>(y) * to_stride;
    resize_row<CHANNELS>(from + static_cast<long long>(y) * stride, spans, weights, width, size,
                         [&](int x, const unsigned char(&pixel)[CHANNELS]) {
#pragma unroll
                             for (int c = 0; c < CHANNELS; c++) out[x * CHANNELS + c] = pixel[c];
                         });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    resize_across_1(const unsigned char* from, int stride, unsigned char* to, int to_stride, const Span* spans,
                    const int* weights, int width, int size) {
    across_to_bytes<1>(from, stride, to, to_stride, spans, weights, width, size);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    resize_across_3(const unsigned char* from, int stride, unsigned char* to, int to_stride, const Span* spans,
                    const int* weights, int width, int size) {
    across_to_bytes<3>(from, stride, to, to_stride, spans, weights, width, size);
}

template <int CHANNELS>
__device__ void across_to_input(const unsigned char* from, int stride, const Input& input, const Span* spans, const int* weights,
                                int width) {
    const int y = blockIdx.x;
    resize_row<CHANNELS>(from + static_cast<long long>(y) * stride, spans, weights, width, input.size,
                         [&](int x, const unsigned char(&pixel)[CHANNELS]) { store<CHANNELS>(input, x, y, pixel); });
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_across_1(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels,
                       const Span* spans, const int* weights, int width, int size) {
    across_to_input<1>(from, stride, {planes, levels, is_half, is_bgr, size}, spans, weights, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_across_3(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels,
                       const Span* spans, const int* weights, int width, int size) {
    across_to_input<3>(from, stride, {planes, levels, is_half, is_bgr, size}, spans, weights, width);
}

// Four neighbouring bytes per thread, whatever channels they are; in one load where rows are aligned.
extern "C" __global__ void __launch_bounds__(THREADS)
    resize_down(const unsigned char* from, int stride, unsigned char* to, int to_stride, const Span* spans, const int* weights,
                int row_bytes) {
    const int first = (blockIdx.x * THREADS + threadIdx.x) * 4, y = blockIdx.y;
    if (first >= row_bytes) return;
    const Span span = spans[y];
    const unsigned char* column = from + static_cast<long long>(span.first) * stride + first;
    const bool aligned = (reinterpret_cast<unsigned long long>(from) | static_cast<unsigned>(stride)) % 4 == 0 && first + 4 <= row_bytes;
    const int count = min(4, row_bytes - first);
    int sums[4] = {HALF, HALF, HALF, HALF};
    for (int tap = 0; tap < span.count; tap++, column += stride) {
        const int weight = weights[span.at + tap];
        unsigned word = 0;
        if (aligned) {
            word = *reinterpret_cast<const unsigned*>(column);
        } else {
            for (int b = 0; b < count; b++) word |= static_cast<unsigned>(column[b]) << (8 * b);
        }
#pragma unroll
        for (int b = 0; b < 4; b++) sums[b] += static_cast<int>(word >> (8 * b) & 255u) * weight;
    }
    unsigned char* out = to + static_cast<long long>(y) * to_stride + first;
#pragma unroll
    for (int b = 0; b < 4; b++) {
        if (b < count) out[b] = to_byte(sums[b]);
    }
}

// A thread per pixel of the input.
template <int CHANNELS>
__device__ void down_to_input(const unsigned char* from, int stride, const Input& input, const Span* spans, const int* weights) {
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= input.size) return;
    const Span span = spans[y];
    const unsigned char* column = from + static_cast<long long>(span.first) * stride + x * CHANNELS;
    int sums[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) sums[c] = HALF;
    for (int tap = 0; tap < span.count; tap++, column += stride) {
        const int weight = weights[span.at + tap];
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) sums[c] += column[c] * weight;
    }
    unsigned char pixel[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) pixel[c] = to_byte(sums[c]);
    store<CHANNELS>(input, x, y, pixel);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_down_1(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels,
                     const Span* spans, const int* weights, int size) {
    down_to_input<1>(from, stride, {planes, levels, is_half, is_bgr, size}, spans, weights);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_down_3(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels,
                     const Span* spans, const int* weights, int size) {
    down_to_input<3>(from, stride, {planes, levels, is_half, is_bgr, size}, spans, weights);
}

template <int CHANNELS>
__device__ void copy_to_input(const unsigned char* from, int stride, const Input& input) {
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= input.size) return;
    unsigned char pixel[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) pixel[c] = from[static_cast<long long>(y) * stride + x * CHANNELS + c];
    store<CHANNELS>(input, x, y, pixel);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_1(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels, int size) {
    copy_to_input<1>(from, stride, {planes, levels, is_half, is_bgr, size});
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_3(const unsigned char* from, int stride, void* planes, int is_half, int is_bgr, const float* levels, int size) {
    copy_to_input<3>(from, stride, {planes, levels, is_half, is_bgr, size});
}
