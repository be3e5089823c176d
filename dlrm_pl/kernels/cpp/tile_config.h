// AMX's tiles of 16 rows of 64 bytes. Included within a variant's namespace, for a processor that has them.

// gcc's tile instructions do not tell the compiler which memory they read, so it must be written before them.
inline void written(const void* memory) { asm volatile("" ::"r"(memory) : "memory"); }

struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};

    // Tiles 0, 1 and 4 with `upper` rows, 2, 3 and 5 with `lower`, 6 and 7 with 16.
    TileConfig(int64_t upper, int64_t lower) {
        const int64_t by_tile[8] = {upper, upper, lower, lower, upper, lower, 16, 16};
        for (int tile = 0; tile < 8; tile++) {
            rows[tile] = uint8_t(by_tile[tile]);
            row_bytes[tile] = by_tile[tile] ? 64 : 0;
        }
    }

    void load() const {
        written(this);
        _tile_loadconfig(this);
    }
};

struct TileGuard {
    TileGuard() { TileConfig(16, 16).load(); }
    ~TileGuard() { _tile_release(); }
};
