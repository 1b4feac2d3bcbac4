# Toolchain of WiredTiger, the storage engine inside secantus, for the cross build. WiredTiger does
# not derive its own WT_ARCH and WT_OS from CMake's system: without these two it is configured for
# the machine that builds it, silently.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(WT_ARCH aarch64 CACHE STRING "" FORCE)
set(WT_OS linux CACHE STRING "" FORCE)
# A test that WiredTiger would run, which a cross build cannot: 0 says that it passed, as it does
# with glibc, which has pthread_condattr_setclock.
set(can_run_HAVE_PTHREAD_COND_MONOTONIC 0 CACHE STRING "" FORCE)
