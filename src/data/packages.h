/* packages.h - where Debian packages of pictures and texts lie: unpacked by scripts/demo-data.sh, else installed. */
#ifndef MM1_DATA_PACKAGES_H
#define MM1_DATA_PACKAGES_H

/* $MM1_CACHE_DIR/root or ~/.cache/mm1/root if that is a folder, else "/".  mm1_free() it; NULL if memory is short. */
char *mm1_packages_root(void);
/* "package:usr/share/..." below that root; any other path as it is.  mm1_free() it; NULL if memory is short. */
char *mm1_packages_path(const char *path);

#endif
