// int4: a word is eight inputs as q + 8, the first four in the low halves of its bytes.

struct Int4 : Scaled<8>, Nibbles {
    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        const unsigned char* unit = panel + unit_offset<Table>(column / Table::GROUP);
        int c = column % Table::GROUP, byte = unit[Table::SCALE_BYTES + 4 * row + c / 8 * 128 + c % 4];
        return ((c % 8 < 4 ? byte & 15 : byte >> 4) - BIAS) * scale_of<Table>(unit, row);
    }
};
