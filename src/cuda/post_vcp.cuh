// What the files of Post-VCP share.
//
// A sequence is one image's tokens in one layer; sequence = image · layers + layer. A query is one state and head;
// query = state · heads + head, normal first. The order of launches is rows (q), queries, look, merge, rows (value),
// rows (out), maps.
#pragma once
#include "lane.cuh"

// Below every score: the lowest finite float, whose exponential against any score is 0.
constexpr float NOTHING = -3.402823466e38f;

// The first patch token of a sequence; `rows` tokens of `width` numbers belong to each image of a layer.
template <typename T>
__device__ __forceinline__ const T* tokens_of(const Addresses& tokens, int sequence, int layers, int rows, int first_row,
                                              int width) {
    const T* layer = static_cast<const T*>(tokens.layer[sequence % layers]);
    return layer + (static_cast<long long>(sequence / layers) * rows + first_row) * width;
}
