// AMX tiles of 16 rows by 64 bytes. Included inside a variant's namespace, for a processor that has them.

// gcc's tile intrinsics do not tell the compiler which memory they read. `written` makes sure that it was written before.
inline void written(const void* memory) { asm volatile("" ::"r"(memory) : "memory"); }

struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};

    // Gives tiles 0, 1 and 4 `upper` rows, tiles 2, 3 and 5 `lower` rows, and tiles 6 and 7 16 rows.
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
