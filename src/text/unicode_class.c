/* unicode_class.c - see unicode_class.h. */
#include "text/unicode_class.h"

#include "text/unicode_table.h"
#include <stddef.h>

mm1_char_class mm1_char_class_of(uint32_t code)
{
    /* The last range that begins at or before code; the first begins at 0. */
    size_t lo = 0, hi = sizeof mm1__char_ranges / sizeof mm1__char_ranges[0];
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (mm1__char_ranges[mid] >> 2 <= code) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return (mm1_char_class)(mm1__char_ranges[lo] & 3);
}
