import { createCpuRuntime } from '/work/wt/fullsize/src/runtime/cpu/cpu-runtime.js'
import { releasedConfig } from '/work/wt/fullsize/src/model/config.js'
import { readFileSync, writeFileSync } from 'node:fs'
const precision=process.argv[2] as any
const config={...releasedConfig('pi05'),actionHorizon:10}
const t0=performance.now()
let last=0
const rt=await createCpuRuntime({weightsPath:'/tmp/fullsize/random/pi05/model.safetensors',config,cache:'/tmp/fullsize',precision,maxBatch:1,prefixSlots:1,onProgress:(d,t)=>{if(d-last>5e8){last=d;console.log('lower',(d/1e9).toFixed(1),(t/1e9).toFixed(1),((performance.now()-t0)/1000).toFixed(0),'s')}}})
console.log('ready',((performance.now()-t0)/1000).toFixed(1))
const mem=()=>readFileSync('/proc/self/status','utf8').split('\n').filter(l=>/VmHWM|VmRSS|RssAnon|RssFile/.test(l)).map(l=>l.replace(/\s+/g,' ')).join(' ')
console.log(mem())
const img=(s:number)=>Uint8Array.from({length:224*224*3},(_,i)=>(i*s+(i>>9)*7)%256)
const row={images:[img(3),img(11),null],tokens:Int32Array.from({length:64},(_,i)=>2+(i*7919)%250000)}
let sd=1;const noise=Float32Array.from({length:320},()=>{let a=0;for(let k=0;k<12;k++){sd^=sd<<13;sd^=sd>>>17;sd^=sd<<5;a+=(sd>>>0)/2**32}return a-6})
for(let i=0;i<+(process.argv[3]??3);i++){
 const t=performance.now(); const p=await rt.perceive([row]); const r=await rt.act(p,noise,10); p.release()
 console.log('total',((performance.now()-t)/1000).toFixed(2),'vision',p.timing.visionMs.toFixed(0),'prefix',p.timing.prefixMs.toFixed(0),'step',Math.min(...r.stepMs).toFixed(1),'..',Math.max(...r.stepMs).toFixed(1),readFileSync('/proc/loadavg','utf8').trim())
 if(i==0){writeFileSync(`/tmp/fullsize/out-${precision}.bin`,new Uint8Array(r.actions.buffer,r.actions.byteOffset,r.actions.byteLength));let s=0;for(const v of r.actions)s+=v*v;console.log('rms',Math.sqrt(s/320),r.actions.slice(0,6))}
}
console.log(mem())
await rt.close()
