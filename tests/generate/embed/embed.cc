// embed.cc - the same program as C++: the public headers are valid there too.
#include "embed.c"
