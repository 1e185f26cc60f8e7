/* Rows of tables with each kind of separator; the first byte chooses. */
#include <string.h>

#include "runtime/data/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    static const char separators[] = {',', ' ', '\t', ';'};
    dl_csv csv;
    bool found = true;
    double number, sum = 0;
    if (count == 0)
        return 0;
    dl_csv_open(&csv, bytes + 1, count - 1, separators[bytes[0] % 4], "fuzz");
    while (dl_csv_next(&csv, &found) == DL_OK && found)
        for (int i = 0; i < csv.cells; i++)
            if (dl_csv_number(dl_csv_cell(&csv, i), &number))
                sum += number;
    dl_csv_close(&csv);
    return sum == 0.125; /* keeps the sum */
}
