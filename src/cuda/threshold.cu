// Threshold: which pixels of an anomaly map lie at or above a threshold, as bits, and a summary.
#include "lane.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / 32;
constexpr int TILES = 8;

// Everything is a maximum or a sum that starts at zero. See `RawSummary` beside this file.
struct Summary {
    unsigned above;
    unsigned bounds[4];
    float score;
    unsigned long long peak;
    unsigned tiles[TILES * TILES];
};

// A warp per row, a lane per pixel of each 32.
extern "C" __global__ void __launch_bounds__(THREADS)
    threshold(const float* maps, const float* scores, const float* thresholds, unsigned* mask, Summary* summaries, int size) {
    __shared__ Summary block;
    const int image = blockIdx.y, lane = threadIdx.x % 32;
    const int y = blockIdx.x * ROWS + threadIdx.x / 32;
    const int words = (size + 31) / 32, side = (size + TILES - 1) / TILES;
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(Summary) / sizeof(unsigned)); i += THREADS) {
        reinterpret_cast<unsigned*>(&block)[i] = 0;
    }
    __syncthreads();
    if (y < size) {
        const float limit = thresholds[image];
        const float* row = maps + (static_cast<long long>(image) * size + y) * size;
        unsigned above = 0, left = 0, right = 0;
        unsigned long long peak = 0;
        for (int word = 0; word < words; word++) {
            const int x = word * 32 + lane;
            const bool valid = x < size;
            const float value = valid ? row[x] : 0.0f;
            const bool is_above = valid && value >= limit;
            const unsigned bits = __ballot_sync(ALL_LANES, is_above);
            if (lane == 0) mask[(static_cast<long long>(image) * size + y) * words + word] = bits;
            if (is_above) {
                above++;
                left = max(left, static_cast<unsigned>(size - x));
                right = static_cast<unsigned>(x + 1);
            }
            if (valid) {
                const unsigned key = ordered(value);
                const unsigned place = static_cast<unsigned>(size) * size - (static_cast<unsigned>(y) * size + x);
                const unsigned long long candidate = static_cast<unsigned long long>(key) << 32 | place;
                if (candidate > peak) peak = candidate;
                atomicMax(&block.tiles[y / side * TILES + x / side], key);
            }
        }
        if (above > 0) {
            atomicAdd(&block.above, above);
            atomicMax(&block.bounds[0], left);
            atomicMax(&block.bounds[1], right);
            atomicMax(&block.bounds[2], static_cast<unsigned>(size - y));
            atomicMax(&block.bounds[3], static_cast<unsigned>(y + 1));
        }
        atomicMax(&block.peak, peak);
    }
    __syncthreads();
    Summary* out = summaries + image;
    if (threadIdx.x < TILES * TILES && block.tiles[threadIdx.x] > 0) {
        atomicMax(&out->tiles[threadIdx.x], block.tiles[threadIdx.x]);
    }
    if (threadIdx.x < 4 && block.above > 0) atomicMax(&out->bounds[threadIdx.x], block.bounds[threadIdx.x]);
    if (threadIdx.x == 0) {
        if (block.above > 0) atomicAdd(&out->above, block.above);
        atomicMax(&out->peak, block.peak);
        if (blockIdx.x == 0) out->score = scores[image];
    }
}
