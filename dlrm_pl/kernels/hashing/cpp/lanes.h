// BLAKE3 of 16 blocks of equal size at once, one in each lane of a vector. Included inside a variant's namespace, after
// `transpose`, which converts 64 bytes of each block to 16 vectors, each with one word of all blocks.
//
// Source: J. O'Connor et al., "BLAKE3: one function, fast everywhere", 2021.

inline Lanes rotated(Lanes x, int bits) { return (x >> bits) | (x << (32 - bits)); }

inline void mix(Lanes v[16], int a, int b, int c, int d, Lanes x, Lanes y) {
    v[a] += v[b] + x, v[d] = rotated(v[d] ^ v[a], 16);
    v[c] += v[d], v[b] = rotated(v[b] ^ v[c], 12);
    v[a] += v[b] + y, v[d] = rotated(v[d] ^ v[a], 8);
    v[c] += v[d], v[b] = rotated(v[b] ^ v[c], 7);
}

// Updates the chaining value with one more message of 16 words.
inline void compress(Lanes value[8], const Lanes words[16], uint32_t counter, uint32_t length, uint32_t flags) {
    Lanes v[16];
    DLRM_UNROLL
    for (int i = 0; i < 8; i++) v[i] = value[i];
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) v[8 + i] = Lanes{} + INITIAL[i];
    const uint32_t last[4] = {counter, 0, length, flags};
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) v[12 + i] = Lanes{} + last[i];
    DLRM_UNROLL
    for (int round = 0; round < 7; round++) {
        const uint8_t* order = ORDERS.of[round];
        DLRM_UNROLL
        for (int i = 0; i < 4; i++) mix(v, i, 4 + i, 8 + i, 12 + i, words[order[2 * i]], words[order[2 * i + 1]]);
        DLRM_UNROLL
        for (int i = 0; i < 4; i++) {
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, words[order[8 + 2 * i]],
                words[order[9 + 2 * i]]);
        }
    }
    DLRM_UNROLL
    for (int i = 0; i < 8; i++) value[i] = v[i] ^ v[8 + i];
}

inline void begin(Lanes value[8]) {
    DLRM_UNROLL
    for (int i = 0; i < 8; i++) value[i] = Lanes{} + INITIAL[i];
}

// Replaces `value`, that of the right half of a tree, by the value of the whole tree.
inline void join(const Lanes left[8], Lanes value[8], uint32_t flags) {
    Lanes words[16];
    for (int i = 0; i < 8; i++) words[i] = left[i], words[8 + i] = value[i];
    begin(value);
    compress(value, words, 0, 64, PARENT | flags);
}

// Writes the first 16 bytes of the BLAKE3 hash of each of 16 blocks of `size` bytes, at least 1.
inline void hash_lanes(const uint8_t* const blocks[16], size_t size, uint8_t* digests) {
    Lanes stack[MOST_LEVELS][8], value[8], words[16];
    int depth = 0;
    const size_t chunks = (size + CHUNK - 1) / CHUNK;
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const size_t first = chunk * CHUNK, bytes = size - first < CHUNK ? size - first : CHUNK;
        begin(value);
        for (size_t at = 0; at < bytes; at += 64) {
            const size_t length = bytes - at < 64 ? bytes - at : 64;
            uint32_t flags = at ? 0 : CHUNK_START;
            if (at + length == bytes) flags |= CHUNK_END | (chunks == 1 ? ROOT : 0);
            transpose(blocks, first + at, length, words);
            compress(value, words, uint32_t(chunk), uint32_t(length), flags);
        }
        if (chunk + 1 == chunks) break;
        // Joins trees of equal size at once. The rest are joined after the last chunk, when it is known which is the root.
        for (size_t done = chunk + 1; !(done & 1); done >>= 1) join(stack[--depth], value, 0);
        for (int i = 0; i < 8; i++) stack[depth][i] = value[i];
        depth++;
    }
    while (depth > 0) {
        depth--;
        join(stack[depth], value, depth ? 0 : ROOT);
    }
    for (int lane = 0; lane < 16; lane++) {
        for (int i = 0; i < 4; i++) {
            const uint32_t word = value[i][lane];
            memcpy(digests + 16 * lane + 4 * i, &word, 4);
        }
    }
}
