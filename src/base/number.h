/* number.h - numbers to text and back, strictly and independent of the locale.  Thread-safe. */
#ifndef MM1_BASE_NUMBER_H
#define MM1_BASE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* The fewest digits that read back the same: "0.1", "1e-04", "nan", "-inf". */
void mm1_format_f64(char text[32], double v);

/* A decimal number that fills the text: [+-]digits[.digits][e[+-]digits].  False, with *out unchanged, for anything
 * else: blanks, hexadecimal, nan and inf, and what is too large for the type. */
bool mm1_parse_f64(const char *text, double *out);
bool mm1_parse_i64(const char *text, int64_t *out);

#endif
