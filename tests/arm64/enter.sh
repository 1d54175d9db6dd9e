#!/usr/bin/env bash
# Run a command in the arm64 root file system, emulated as the processor named:
# enter.sh ROOT PROCESSOR COMMAND ...; run.sh calls it in namespaces of its own.
set -euo pipefail
root=$1 processor=$2
shift 2
formats=/proc/sys/fs/binfmt_misc
# Where systemd runs, the package of QEMU has registered this format for all.
if [ ! -e $formats/qemu-aarch64 ]; then
    mount -t binfmt_misc none $formats # a namespace has its own from Linux 6.7 on
    # Little-endian 64-bit ELF executables and shared objects for AArch64 (machine 0xb7).
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    interpreter=$(command -v qemu-aarch64-static)
    # F opens the interpreter now: the new root does not have it.
    echo ":qemu-aarch64:M::$magic:$mask:$interpreter:F" > $formats/register
fi

# QEMU 7.2 shows this machine's own processor, on which ONNX Runtime's import crashes.
simd="fp asimd evtstrm crc32 cpuid"
case $processor in
    cortex-a72) part=0xd08 features=$simd ;;
    cortex-a76) part=0xd0b features="$simd atomics fphp asimdhp asimdrdm lrcpc asimddp" ;;
    *) echo "enter.sh: no description of $processor" >&2 && exit 2 ;;
esac
for ((core = 0; core < $(nproc); core++)); do
    printf 'processor\t: %d\nFeatures\t: %s\nCPU implementer\t: 0x41\n' $core "$features"
    printf 'CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: %s\n' $part
    printf 'CPU revision\t: 0\n\n'
done > "$root/root/$processor.cpuinfo"
mount --bind "$root/root/$processor.cpuinfo" /proc/cpuinfo
for folder in proc dev sys; do
    mount --rbind /$folder "$root/$folder"
done
exec chroot "$root" /usr/bin/env -i QEMU_CPU="$processor" LANG=C.UTF-8 HOME=/root \
    PATH=/root/venv/bin:/usr/bin:/bin PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    bash -c 'cd /root/kpextract 2> /dev/null || cd; exec "$@"' bash "$@"
