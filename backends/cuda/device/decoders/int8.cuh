// int8: a word is four inputs as q + 128.

struct Int8 : Scaled<128>, Loads<2> {
    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        const unsigned char* unit = panel + unit_offset<Table>(column / Table::GROUP);
        int c = column % Table::GROUP;
        return (unit[Table::SCALE_BYTES + 4 * row + c / 4 * 128 + c % 4] - BIAS) * scale_of<Table>(unit, row);
    }
};
