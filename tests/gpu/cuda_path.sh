# Sourced. cuda_path LIBRARY: the folders that hold what LIBRARY (libdl_cuda.so) needs of CUDA, and NVRTC, which the
# program opens itself, where the loader does not find them; joined by ':', nothing where all is found. Looked into are the toolkit's folders and those of PyTorch's wheels,
# of ${DLTRAIN_GPU_PYTHON:-python3} or under the usual site-packages.
cuda_path() {
    python_path=$("${DLTRAIN_GPU_PYTHON:-python3}" -c \
        'import site, sys; print(" ".join(p for p in sys.path + site.getsitepackages() if "-packages" in p))' 2>/dev/null)
    cuda_folders=
    cuda_names=$(grep -aoE 'lib(cublasLt|cudnn|nccl)\.so\.[0-9]+' "$1" | sort -u)
    for cuda_name in $cuda_names $(echo "$cuda_names" | sed -n 's/^libcublasLt/libnvrtc/p'); do
        if ldconfig -p 2>/dev/null | grep -q "^[[:space:]]*$cuda_name "; then continue; fi
        for cuda_folder in $(echo "${LD_LIBRARY_PATH:-}" | tr ':' ' '); do
            [ ! -e "$cuda_folder/$cuda_name" ] || continue 2
        done
        for cuda_parent in /usr/local/cuda/lib64 /usr/local/cuda-*/lib64 /usr/lib/x86_64-linux-gnu \
            $(for p in $python_path /usr/lib/python3*/*-packages /usr/local/lib/python3*/*-packages; do
                echo "$p"/nvidia/*/lib; done); do
            [ -e "$cuda_parent/$cuda_name" ] || continue
            case :$cuda_folders: in
            *:$cuda_parent:*) ;;
            *) cuda_folders=${cuda_folders:+$cuda_folders:}$cuda_parent ;;
            esac
            break
        done
    done
    echo "$cuda_folders"
}
